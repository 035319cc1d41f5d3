"""The command line as a person or a script meets it: output, exit codes, and errors that say what to do."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from deploy.demo import mmdb
from pipeline.cli import output
from pipeline.cli.cluster_state import objects_in
from pipeline.cli.main import SERVICES, main, parser
from pipeline.errors import ConfigError

MANIFESTS = Path(__file__).resolve().parents[3] / "deploy" / "lab" / "manifests"
FLOW = {"src_ip": "10.244.1.13", "dst_ip": "10.96.0.10", "dst_port": 53, "protocol": "UDP"}


Run = Callable[..., subprocess.CompletedProcess[str]]


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def answer(*arguments: str) -> int:
    """What the command itself gives, with its errors as they are raised."""
    parsed = parser().parse_args(arguments)
    return int(parsed.run(parsed))


def flows_file(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "flows.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_attribute_writes_each_flow_in_order_as_json_lines(tmp_path: Path) -> None:
    flows = flows_file(tmp_path, json.dumps(FLOW), json.dumps(FLOW | {"dst_ip": "192.0.2.1"}))
    done = process("attribute", "--state", str(MANIFESTS), "--flows", flows)
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert done.returncode == 0, done.stderr
    assert first["source"]["name"] == "netshoot"
    assert first["service"] == {
        "namespace": "kube-system",
        "name": "kube-dns",
        "type": "ClusterIP",
        "port_name": "dns",
        "via": "cluster_ip",
    }
    assert second["destination"]["kind"] == "External"
    assert second["service"] is None


@pytest.fixture
def geo(tmp_path: Path) -> str:
    record = {**mmdb.country("DE"), **mmdb.system(64500, "Example Net")}
    return str(mmdb.write(tmp_path / "all.mmdb", {"203.0.113.0/24": record}))


def test_attribute_tells_where_ends_beyond_the_cluster_are(tmp_path: Path, geo: str, run: Run) -> None:
    flows = flows_file(tmp_path, json.dumps(FLOW), json.dumps(FLOW | {"dst_ip": "203.0.113.9"}))
    done = run("attribute", "--state", str(MANIFESTS), "--flows", flows, "--geo", geo)
    inside, beyond = (json.loads(line)["destination"] for line in done.stdout.splitlines())
    names = ("country", "asn", "organisation")
    assert [inside[name] for name in names] == [None, None, None]
    assert [beyond[name] for name in names] == ["DE", 64500, "Example Net"]


def test_explain_tells_where_ends_beyond_the_cluster_are(geo: str, run: Run) -> None:
    to = ("--to", "203.0.113.9", "--port", "443", "--geo", geo)
    done = run("explain", "--state", str(MANIFESTS), "--from", "default/netshoot", *to)
    assert "country and network of 203.0.113.9: DE, AS64500 Example Net\n" in done.stdout
    assert "country and network of 10." not in done.stdout
    done = run("explain", "--state", str(MANIFESTS), "--from", "198.51.100.1", *to, "-o", "json")
    look_ups = {each["asked"]: each["answer"] for each in json.loads(done.stdout)["look_ups"]}
    assert look_ups["country and network of 198.51.100.1"] == "not known"


def test_a_wrong_database_is_named(tmp_path: Path, geo: str, run: Run) -> None:
    flows, broken = flows_file(tmp_path, json.dumps(FLOW)), tmp_path / "broken.mmdb"
    broken.write_text("nothing")
    done = run("attribute", "--state", str(MANIFESTS), "--flows", flows, "--geo", f"{geo},{broken}")
    assert done.returncode == 2
    assert f"pipeline.geo: {broken} is no MaxMind database" in done.stderr


def test_attribute_tells_the_policies_and_numbers_their_rules(tmp_path: Path, run: Run) -> None:
    to_database = {"src_ip": "10.244.1.7", "dst_ip": "10.244.2.10", "dst_port": 5432, "protocol": 6}
    to_frontend = {"src_ip": "10.244.1.13", "dst_ip": "10.244.2.4", "dst_port": 8080, "protocol": 6}
    flows = flows_file(tmp_path, json.dumps(to_database), json.dumps(to_frontend))
    done = run("attribute", "--state", str(MANIFESTS), "--flows", flows)
    allowed, denied = (json.loads(line) for line in done.stdout.splitlines())
    assert allowed["verdict"] == "allowed"
    assert allowed["ingress_policy"]["policies"] == [
        {
            "kind": "NetworkPolicy",
            "namespace": "production",
            "name": "allow-from-app-namespace",
            "rule": 1,
            "effect": "allow",
            "near_miss_rule": None,
        }
    ]
    assert denied["verdict"] == "denied"
    assert [(p["name"], p["effect"], p["rule"]) for p in denied["ingress_policy"]["policies"]] == [
        ("web-netpol", "isolates", None)
    ]


def test_attribute_as_a_table_has_an_end_a_service_and_policies_in_one_column_each(tmp_path: Path, run: Run) -> None:
    to_service = FLOW | {"dst_ip": "10.96.30.20", "dst_port": 80, "protocol": "TCP"}
    to_pod = FLOW | {"dst_ip": "10.244.1.4", "dst_port": 8080, "protocol": "TCP"}
    from_outside = FLOW | {"src_ip": "2001:db8::1", "dst_ip": "fd00:10:244:1::13"}
    flows = flows_file(tmp_path, *map(json.dumps, (to_service, to_pod, from_outside)))
    done = run("attribute", "--state", str(MANIFESTS), "--flows", flows, "-o", "table")
    header, dialled, denied, entered = (re.split(r"  +", line) for line in done.stdout.splitlines())
    assert header[:5] == ["source", "dialled", "protocol", "service", "destination"]
    assert dialled[:4] == ["default/netshoot", "10.96.30.20:80", "TCP", "shop/frontend-service"]
    assert denied[5:] == ["denied", "exact", "-", "NetworkPolicy shop/web-netpol isolates"]
    assert entered[:3] == ["outside 2001:db8::1", "[fd00:10:244:1::13]:53", "UDP"]
    assert entered[4] == "default/netshoot"


def test_attribute_names_a_bad_line_and_goes_on(tmp_path: Path, run: Run) -> None:
    flows = flows_file(tmp_path, "{", json.dumps(FLOW))
    done = run("attribute", "--state", str(MANIFESTS), "--flows", flows)
    assert done.returncode == 1
    assert f"{flows}: line 1: " in done.stderr
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize("text", ["", "# nothing\n", "{kind: List, apiVersion: v1, items: []}", "a: [", "caf\xe9"])
def test_flows_are_not_attributed_under_no_cluster_at_all(text: str, tmp_path: Path) -> None:
    """`kubectl get ... > state.yaml` leaves an empty file where it is refused."""
    state = tmp_path / "state.yaml"
    state.write_bytes(text.encode("latin-1"))
    flows = flows_file(tmp_path, json.dumps(FLOW))
    for command in ("attribute", "observe"):
        with pytest.raises(ConfigError, match=r"--state: nothing can be read: .*state\.yaml"):
            answer(command, "--state", str(state), "--flows", flows)


def test_the_state_may_come_through_a_pipe(tmp_path: Path) -> None:
    """As of `--state <(kubectl get ... -o yaml)`."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    dump = (MANIFESTS / "default.yaml").read_bytes()
    feeder = threading.Thread(target=pipe.write_bytes, args=(dump,))
    feeder.start()
    objects, refusals = objects_in(pipe)
    feeder.join()
    assert len(objects) > 1
    assert not refusals


def test_a_bus_that_is_asked_is_not_made(tmp_path: Path) -> None:
    """A mistyped folder would be left behind, and said to be a bus on which no watcher tells."""
    with pytest.raises(ConfigError, match=r"--bus: .*/buss is no folder"):
        answer("doctor", "--state", "bus", "--bus", f"file://{tmp_path}/buss")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("attribute", "--state", "/no/such", "--flows", "x"), "state: /no/such does not exist"),
        (
            (
                "explain",
                "--state",
                str(MANIFESTS),
                *("--from", "10.0.0.1", "--to", "10.0.0.2", "--port", "80"),
                "--path",
                "/",
            ),
            "--path: give --host with it",
        ),
        (("attribute", "--state", str(MANIFESTS), "--flows", "/no/such.jsonl"), "flows: "),
        (("collect", "--bus", "file:///tmp/x"), "collector: node must be set"),
        (("collect", "--node", "n1", "--bus", "ftp://x"), "bus: 'ftp://x' is not"),
        (("pipeline", "--bus", "kafka://x:1"), "pipeline: state must be set"),
        (("pipeline", "--bus", "kafka://x:1", "--state", "x", "--listen", "nowhere"), "pipeline.listen: 'nowhere'"),
        (("config", "check", "pipeline", "--config", "/no/such.yaml"), "/no/such.yaml: No such file"),
        (("observer",), "there is no 'observer'; did you mean observe?"),
    ],
)
def test_wrong_use_is_named_and_exits_with_2(arguments: tuple[str, ...], said: str, run: Run) -> None:
    done = (process if arguments[0] in SERVICES else run)(*arguments)  # a service sets what is its process's
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_config_print_shows_the_merged_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "flowatlas.yaml"
    file.write_text("pipeline: {bus: 'file:///var/bus', state: /etc/state}\n")
    monkeypatch.setenv("FLOWATLAS_PIPELINE_WINDOW_S", "2.5")
    assert main(["config", "print", "pipeline", "--config", str(file)]) == 0
    printed = capsys.readouterr().out
    assert f"  bus: file:///var/bus  # {file}\n" in printed
    assert "  window_s: 2.5  # FLOWATLAS_PIPELINE_WINDOW_S\n" in printed
    assert "  listen: 127.0.0.1:9464  # default\n" in printed
    again = tmp_path / "again.yaml"
    again.write_text(printed)
    assert main(["config", "check", "pipeline", "--config", str(again)]) == 0


def test_config_print_says_what_is_not_set_and_check_refuses_it(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pod the node's name is a flag of the running one, which no other process sees."""
    assert main(["config", "print", "collector"]) == 0
    printed = capsys.readouterr().out
    assert "  # node: not set here, and it must be (flag, environment or file)\n" in printed
    assert "  interval_s: 1.0  # default\n" in printed
    assert main(["config", "check", "collector"]) == 2
    assert "collector: node, bus must be set" in capsys.readouterr().err


def test_config_print_shows_no_secret(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for key, value in {
        "SECURITY_PROTOCOL": "SASL_SSL",
        "MECHANISM": "PLAIN",
        "USERNAME": "anna",
        "PASSWORD": "hush",
    }.items():
        monkeypatch.setenv(f"FLOWATLAS_KAFKA_{key}", value)
    assert main(["config", "print", "kafka"]) == 0
    printed = capsys.readouterr().out
    assert "  password: (not shown)  # FLOWATLAS_KAFKA_PASSWORD\n" in printed
    assert "  username: anna  # FLOWATLAS_KAFKA_USERNAME\n" in printed
    assert "hush" not in printed


def test_the_command_line_and_the_collector_load_nothing_heavy() -> None:
    program = (
        "import sys; from pipeline.cli import main; main.parser(); import collector.agent\n"
        "heavy = {'polars', 'pyarrow', 'scapy', 'grafanalib', 'pyroute2'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv", "parquet"])
def test_every_format_carries_every_row(form: str) -> None:
    rows = pl.DataFrame({"n": [1, 2], "end": [{"name": "a", "ports": [1]}, {"name": None, "ports": []}]})
    out = io.BytesIO()
    output.write(rows, form, out)
    text = out.getvalue()
    readers: dict[str, Any] = {
        "table": lambda: text.decode().splitlines()[1:],
        "json": lambda: json.loads(text),
        "jsonl": lambda: text.splitlines(),
        "csv": lambda: pl.read_csv(text).rows(),
        "parquet": lambda: pl.read_parquet(text).rows(),
    }
    assert len(readers[form]()) == 2
    if form in {"table", "csv"}:
        assert b"end.name" in text.splitlines()[0]
