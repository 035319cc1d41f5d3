"""`flowatlas doctor` and `status` as a person or a script meets them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.cli.finding_lines import lines
from pipeline.cli.main import main
from pipeline.cli.terminal import wrapped
from pipeline.diagnosis.finding import Finding
from pipeline.outputs.lake import Lake
from tests.pipeline.diagnosis.test_health import COLLECTOR, WELL

MANIFESTS = Path(__file__).resolve().parents[3] / "deploy" / "lab" / "manifests"
NOBODY = "http://127.0.0.1:1"


@contextmanager
def pages(**texts: str) -> Iterator[str]:
    """A server on loopback with these pages; 503 for an empty one, 404 for others. Yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = texts.get(self.path.strip("/"))
            self.send_response(404 if text is None else 200 if text else 503)
            self.end_headers()
            self.wfile.write((text or "").encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the inherited name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def fresh(text: str) -> str:
    """The page of a node that has just told something."""
    return text.replace(" 995", " 99999999999")


def test_doctor_does_not_call_a_cluster_well_of_which_it_could_read_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state.yaml").write_text("a: [\n")
    assert main(["doctor", "--state", str(tmp_path / "state.yaml")]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "--state: nothing can be read" in told.err


def test_doctor_does_not_call_connections_well_of_which_there_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Lake(tmp_path / "lake").start()
    asked = ["doctor", "--state", str(MANIFESTS), "--lake", str(tmp_path / "lake"), "--since", "2026-03-01"]
    assert main(asked) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"not looked for without a flow in {tmp_path}/lake since 2026-03-01 00:00:00 UTC: Service addresses" in told
    assert main([*asked, "-o", "json"]) == 0
    lacking = json.loads(capsys.readouterr().out)["not_looked_for"]
    assert {"what": "policies that deny much", "lacks": ["history"]} in lacking


def test_what_is_long_is_told_in_lines_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines_told = wrapped("not looked for without --server: " + "; ".join(["DNS that fails"] * 20)).split("\n")
    assert max(map(len, lines_told)) <= 60
    assert all(line.startswith("  ") for line in lines_told[1:])


def test_doctor_finds_the_labs_service_without_endpoints_and_says_what_it_could_not_look_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pages(metrics=fresh(WELL)) as server:
        code = main(
            ["doctor", "--state", str(MANIFESTS), "--server", server, "--service", "app-namespace/legacy-service"]
        )
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "warning  Service app-namespace/legacy-service port http: no endpoint is ready"
    assert said[1].strip() == "selector app=legacy matches no pod of the namespace"
    assert said[2].strip() == "next: kubectl -n app-namespace get pods -l app=legacy -o wide"
    assert any(line.startswith("not looked for without --lake: ") for line in said)
    assert code == 0


def test_doctor_is_1_where_a_node_of_the_state_tells_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pages(metrics=fresh(WELL)) as server:
        assert main(["doctor", "--state", str(MANIFESTS), "--server", server]) == 1
    assert "error    node node1: no collector tells of its flows\n" in capsys.readouterr().out


def test_doctor_of_objects_alone_is_0_where_nothing_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--state", str(MANIFESTS), "--service", "shop/postgres", "-o", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["findings"] == []
    assert "routes to Services that are not there" in said["looked_for"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--pod", "shop/web"), "--state: it is wanted with"),
        (("--since", "1h", "--server", NOBODY), "--since: of --lake only"),
        (("--server", NOBODY), f"--server: nothing that can be read answers at {NOBODY}/metrics"),
        (("--state", str(MANIFESTS), "--service", "shop/postgers"), "did you mean shop/postgres?"),
        (("--state", str(MANIFESTS), "--pod", "shop/nobody-at-all"), "--pod: the state has no shop/nobody-at-all"),
        (("--lake", "/no/such"), "lake: /no/such is no folder"),
    ],
)
def test_doctor_names_what_is_wrong_with_its_arguments(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_status_of_a_pipeline_that_is_well_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    with pages(metrics=fresh(WELL), readyz="ready\n") as server, pages(metrics=COLLECTOR) as collector:
        assert main(["status", "--server", server, "--collector", collector, "--over", "0.1"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Pipeline {server}: ready\n")
    assert "n1    0.0 s   100        0        0      100.0%" in said
    assert f"{collector}  ebpf" in said
    assert said.endswith("Nothing is wrong.\n")


def test_status_is_1_where_something_is_wrong_with_the_next_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pages(metrics=WELL, readyz="") as server:
        assert main(["status", "--server", server, "--over", "0.1", "-o", "json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["is_ready"] is False
    assert [(each["check"], each["severity"]) for each in said["findings"]] == [("ready", "error"), ("node", "error")]
    assert all(each["next"] for each in said["findings"])


def test_status_refuses_what_is_no_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--server", NOBODY, "--over", "0.1"]) == 2
    with pages(metrics="go_threads 7\n") as other:
        assert main(["status", "--server", other, "--over", "0.1"]) == 2
    assert "it is no pipeline" in capsys.readouterr().err


def test_findings_are_in_plain_text_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--state", str(MANIFESTS)])
    assert "\x1b" not in capsys.readouterr().out


def test_names_in_findings_cannot_write_on_the_terminal() -> None:
    evil = "evil\x1b[2J\r"
    told = list(lines([Finding("check", "note", evil, evil, (evil,), evil)]))
    assert len(told) == 3
    assert not {"\x1b", "\r"} & set("".join(told))
