"""`flowatlas observe` and `top` as a person or a script meets them: over a history, a file and a running pipeline."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import pytest

from pipeline.cli.main import main
from pipeline.cli.terminal import size
from pipeline.outputs.lake import Lake
from pipeline.outputs.live import PATH, LiveTail
from pipeline.outputs.prometheus import PrometheusServer
from pipeline.outputs.publication import Publication
from tests.pipeline.test_flowfilter import rows

MANIFESTS = Path(__file__).resolve().parents[3] / "deploy" / "lab" / "manifests"
NOON = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


def flow(number: int, **more: Any) -> dict[str, Any]:
    return {
        "time": NOON + timedelta(minutes=number),
        "role": "canonical",
        "flow_id": number,
        "node": "node1",
        "source_kind": "Pod",
        "source_namespace": "shop",
        "source_name": f"web-{number}",
        "source_workload": "web",
        "destination_kind": "Pod",
        "destination_namespace": "shop",
        "destination_name": "db-0",
        "destination_workload": "db",
        "service_namespace": "shop",
        "service": "db",
        "src_ip": "10.1.0.5",
        "backend_ip": "10.1.0.9",
        "dst_port": 5432,
        "backend_port": 5432,
        "protocol": 6,
        "verdict": "allowed",
        "outcome": "closed",
        "opened": 1,
        "bytes": 1000,
        "reply_bytes": 2_500_000,
        **more,
    }


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Forty flows over two hours, the last denied, and what another node saw of one of them."""
    history = Lake(tmp_path / "lake")
    history.start()
    history.add(rows(*(flow(i, verdict="denied" if i == 39 else "allowed") for i in range(40))))
    history.add(rows(flow(38, role="observer", node="node2")))
    history.flush()
    return tmp_path / "lake"


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_last_flows_of_a_history_are_shown_oldest_first(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["observe", "--lake", str(lake)]) == 0
    assert [row["flow_id"] for row in told(capsys)] == list(range(20, 40))
    assert main(["observe", "--lake", str(lake), "--last", "35", "--not", "--verdict", "denied"]) == 0
    assert [row["flow_id"] for row in told(capsys)] == list(range(4, 39))
    assert main(["observe", "--lake", str(lake), "--first", "2"]) == 0
    assert [row["flow_id"] for row in told(capsys)] == [0, 1]
    assert main(["observe", "--lake", str(lake), "--since", "2026-03-01T13:07:00", "--all"]) == 0
    assert [row["flow_id"] for row in told(capsys)] == [37, 38, 38, 39]


def test_the_table_reads_in_one_line_a_flow(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["observe", "--lake", str(lake), "--from-pod", "shop/web-39", "-o", "table"]) == 0
    header, line = capsys.readouterr().out.splitlines()
    assert header.split() == ["TIME", "FROM", "TO", "SERVICE", "PORT", "VERDICT", "OUTCOME", "SENT", "RECEIVED",
                              "HEAD"]  # fmt: skip
    cells = ["2026-03-01", "13:09:00.000", "shop/web-39", "shop/db-0", "shop/db", "5432/tcp", "denied", "closed"]
    assert line.split() == [*cells, "1.0", "kB", "2.5", "MB"]
    assert header.index("SERVICE") == line.index("shop/db ", line.index("shop/db-0") + 9)


def test_the_table_ends_with_what_was_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = Lake(tmp_path / "lake")
    history.start()
    http = {"app_protocol": "http1", "server_name": "web.example", "method": "GET", "path": "/a/b…"}
    history.add(rows(flow(1, **http), flow(2, app_protocol="tls", server_name="api.example"), flow(3)))
    history.flush()
    assert main(["observe", "--lake", str(tmp_path / "lake"), "-o", "table"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert [line[header.index("HEAD") :] for line in lines] == ["GET web.example/a/b…", "api.example", ""]


def test_names_cannot_write_on_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = Lake(tmp_path / "lake")
    history.start()
    history.add(rows(flow(1, dns_name="evil\x1b[2J\r.example")))
    history.flush()
    assert main(["observe", "--lake", str(tmp_path / "lake"), "-o", "table"]) == 0
    assert "\x1b" not in (shown := capsys.readouterr().out)
    assert "evil\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}.example (10.1.0.9)" in shown


def test_a_file_is_judged_under_the_objects_that_go_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "flows.jsonl"
    flows = [
        {"src_ip": "10.244.1.13", "dst_ip": "10.96.0.10", "dst_port": 53, "protocol": "UDP"},
        {"src_ip": "10.244.1.13", "dst_ip": "192.0.2.7", "dst_port": 443, "protocol": "TCP"},
    ]
    path.write_text("\n".join(map(json.dumps, flows)) + "\n")
    command = ["observe", "--flows", str(path), "--state", str(MANIFESTS)]
    assert main([*command, "--to-service", "kube-system/kube-dns"]) == 0
    (row,) = told(capsys)
    assert (row["source_name"], row["service"], row["dst_port"]) == ("netshoot", "kube-dns", 53)
    assert main([*command, "--protocol", "tcp"]) == 0
    (row,) = told(capsys)
    assert (row["destination_kind"], row["verdict"]) == ("External", "allowed")


def test_a_file_is_picked_by_what_it_asked_for_and_by_zone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "flows.jsonl"
    ends = {"src_ip": "10.244.1.13", "dst_ip": "192.0.2.7", "dst_port": 443, "protocol": "TCP"}
    path.write_text(json.dumps(ends) + "\n" + json.dumps(ends | {"server_name": "web.example", "path": "/a"}) + "\n")
    command = ["observe", "--flows", str(path), "--state", str(MANIFESTS)]
    assert main([*command, "--host", "web.example", "--path", "/a", "--from-zone", "lab-a"]) == 0
    (row,) = told(capsys)
    assert (row["server_name"], row["path"], row["source_zone"]) == ("web.example", "/a", "lab-a")
    assert main([*command, "--from-zone", "lab-b"]) == 0
    assert told(capsys) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--flows", "flows.jsonl"], "--state: "),
        (["--lake", "nowhere"], "lake: nowhere is no folder"),
        (["--lake", ".", "-f"], "--follow: "),
        (["--since", "1h"], "--since, --until"),
        (["-o", "json"], "--output: "),
        (["--lake", ".", "--verdict", "denied", "--not"], "--not: it goes before the flag"),
        (["--server", "http://127.0.0.1:1"], "no pipeline answers at http://127.0.0.1:1"),
    ],
)
def test_what_cannot_work_is_said_with_the_flag(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flows.jsonl").write_text("")
    assert main(["observe", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_value_that_cannot_be_meant_is_refused_with_the_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["observe", "--port", "http"])
    assert stopped.value.code == 2
    assert "argument --port: 'http' is neither a port nor FIRST-LAST" in capsys.readouterr().err


class Running:
    """A pipeline's server whose engine makes the same flows again and again."""

    def __init__(self) -> None:
        self.tail = LiveTail()
        self._stop = threading.Event()
        self._server = PrometheusServer(
            ("127.0.0.1", 0), Publication(), lambda: True, more={PATH: self.tail.answer}, connection_seconds=60
        )
        self._thread = threading.Thread(target=self._make)

    def __enter__(self) -> str:
        self._server.start()
        self._thread.start()
        return "http://{}:{}".format(*self._server.address)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._server.stop()

    def _make(self) -> None:
        made = rows(
            flow(1), flow(2, role="observer"), flow(3, source_workload="api", bytes=5_000_000, verdict="denied")
        )
        while not self._stop.wait(0.1):
            if self.tail.is_wanted:
                self.tail.add(made)


@pytest.fixture
def server() -> Iterator[str]:
    with Running() as url:
        yield url


def test_a_running_pipeline_tells_flows_as_they_come(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["observe", "--server", server, "--last", "5", "--verdict", "denied"]) == 0
    assert [row["flow_id"] for row in told(capsys)] == [3] * 5


def test_following_goes_on_until_it_is_stopped(server: str) -> None:
    command = [sys.executable, "-m", "pipeline.cli.main", "observe", "-f", "--server", server, "-o", "table"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        lines = [following.stdout.readline() for _ in range(6)]
        following.terminate()
    assert lines[0].startswith("TIME")
    assert all(re.match(r"\d\d:\d\d:\d\d\.\d{3}  ", line) for line in lines[1:])
    assert {line.split()[1] for line in lines[1:]} == {"shop/web-1", "shop/web-3"}


def test_a_pipeline_that_serves_no_flows_says_what_to_switch_on(capsys: pytest.CaptureFixture[str]) -> None:
    with PrometheusServer(("127.0.0.1", 0), Publication(), lambda: True) as plain:
        assert main(["observe", "--server", "http://{}:{}".format(*plain.address)]) == 2
    assert "pipeline.live" in capsys.readouterr().err


def test_top_is_of_an_hour_also_where_only_its_end_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = Lake(tmp_path)
    history.start()
    history.add(rows(*(flow(minutes, bytes=minutes, reply_bytes=0) for minutes in (1, 100, 150, 300))))
    history.flush()
    assert main(["top", "--lake", str(tmp_path), "--until", "2026-03-01T16:00"]) == 0
    assert [row["bytes"] for row in told(capsys)] == [250]


def test_top_is_of_the_last_hour_though_a_node_is_years_ahead(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = Lake(tmp_path)
    history.start()
    history.add(rows(*(flow(minutes, bytes=7, reply_bytes=0) for minutes in (1, 20 * 365 * 24 * 60))))
    history.flush()
    for until in ([], ["--until", "2047-01-01"]):
        assert main(["top", "--lake", str(tmp_path), *until]) == 0
        assert [row["connections"] for row in told(capsys)] == [2]


def test_top_sums_a_part_of_the_history(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--lake", str(lake), "--by", "service"]) == 0
    (row,) = told(capsys)
    assert (row["key"], row["connections"], row["received"]) == ("shop/db", 40, 40 * 2_500_000)
    assert main(["top", "--lake", str(lake), "--by", "pods", "--since", "2026-03-01T13:08:00", "--rows", "1"]) == 0
    (row,) = told(capsys)
    assert (row["key"], row["connections"]) == ("shop/web-38 \N{RIGHTWARDS ARROW} shop/db-0", 1)


def test_top_sums_what_a_pipeline_tells_within_a_window(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--server", server, "--window", "1", "--by", "from"]) == 0
    found = told(capsys)
    assert [row["key"] for row in found] == ["shop/api", "shop/web"]
    assert found[0]["connections"] == found[1]["connections"] > 0


@pytest.mark.terminal
def test_top_on_a_terminal_is_drawn_anew_and_obeys_keys(server: str) -> None:
    socket, session = f"flowatlas-{uuid4().hex}", "top"  # in a folder of tmux's own: a socket's path must be short

    def tmux(*arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", socket, "-f", "/dev/null", *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout

    def screen_with(text: str) -> str:
        deadline = time.monotonic() + 60
        while text not in (shown := tmux("capture-pane", "-p", "-t", session)):
            assert time.monotonic() < deadline, shown
            time.sleep(0.1)
        return shown

    command = f"TERM=screen {sys.executable} -m pipeline.cli.main top --server {server}; echo LEFT $?; cat"
    tmux("new-session", "-d", "-s", session, "-x", "130", "-y", "20", command)
    try:
        shown = screen_with("shop/api")
        assert "workload to workload, by bytes" in shown
        lines = [line.split() for line in shown.splitlines() if line.startswith("shop/")]
        assert [line[0] for line in lines] == ["shop/api", "shop/web"]
        tmux("send-keys", "-t", session, "k")
        screen_with("workloads that connect, by bytes")
        tmux("send-keys", "-t", session, "s")
        screen_with("workloads that connect, by sent")
        tmux("send-keys", "-t", session, "r")
        tmux("send-keys", "-t", session, "k")
        screen_with("workload to workload, by sent")
        tmux("send-keys", "-t", session, "q")
        screen_with("LEFT 0")
    finally:
        tmux("kill-server")


def on_terminal(kind: str, *command: str, until: str = "", then: bytes = b"") -> tuple[int, str]:
    """The exit code of a command on a terminal of a kind, and what it drew; `then` is typed once `until` is there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    environment = {**os.environ, "TERM": kind}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # the terminal's other end is gone
            while part := os.read(ours, 65536):
                shown += part
                if until and until.encode() in shown:
                    os.write(ours, then)
                    until = ""
        process.wait(60)
    os.close(ours)
    return process.returncode, shown.decode(errors="replace")


def test_top_is_drawn_on_a_serial_console(server: str) -> None:
    """It has no colours, and its cursor cannot be hidden."""
    command = (sys.executable, "-m", "pipeline.cli.main", "top", "--server", server)
    code, shown = on_terminal("vt100", *command, until="shop/api", then=b"q")
    assert (code, "Traceback" in shown) == (0, False)


@pytest.mark.parametrize("kind", ["dumb", "xterm-of-tomorrow", ""])
def test_top_says_what_to_do_on_a_terminal_that_it_cannot_draw_on(kind: str) -> None:
    """As of an editor's shell, or one that is known on the machine that one comes from and not on this."""
    code, shown = on_terminal(kind, sys.executable, "-m", "pipeline.cli.main", "top", "--server", "http://127.0.0.1:1")
    assert code == 2
    assert f"TERM: a terminal of kind {kind!r} cannot be drawn on here; -o table tells once" in shown


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (5 * 10**15, "5000 TB"),
        (None, "-"),
    ],
)
def test_sizes_have_three_digits(count: int | None, text: str) -> None:
    assert size(count) == text


def test_a_history_without_rows_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Lake(tmp_path / "lake").start()
    assert main(["observe", "--lake", str(tmp_path / "lake"), "-o", "table"]) == 0
    captured = capsys.readouterr()
    said = "no flow matches\nflowatlas observe: the history has no flow yet\n"
    assert (captured.out, captured.err) == ("", said)
    assert main(["top", "--lake", str(tmp_path / "lake")]) == 0
    assert pl.DataFrame(told(capsys)).is_empty()
