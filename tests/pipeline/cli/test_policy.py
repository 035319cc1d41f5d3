"""`flowatlas policy` as a person or a gate meets it: output, exit codes, and errors that say what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.schema import STATE, pack_record
from pipeline.cli.arguments import moment
from pipeline.cli.main import main
from pipeline.outputs.lake import Lake
from tests.collector.packets.captures import pcap
from tests.collector.packets.frames import CASES
from tests.pipeline.policy.histories import IPS, LABELS, history, later, pod, seen
from tests.pipeline.state_batches import mark, put, state, synced

ROWS = [
    *(seen("web-1", "db-0", 5432, time=later(day)) for day in (0, 1, 2, 3)),
    seen("web-0", "db-0", 5432),
    seen("gone-1", "db-0", 5432),
    seen("198.51.100.7", "web-1", 8080),
    seen("job-9", "db-0", 5432, outcome="no_reply"),
]
DENY_ALL = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "deny-all", "namespace": "shop"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state without policies, a lake, and the files of changes."""
    pods = [{"apiVersion": "v1", **pod(name)} for name in LABELS]
    (tmp_path / "state.yaml").write_text(yaml.safe_dump_all(pods))
    (tmp_path / "guarded.yaml").write_text(yaml.safe_dump_all([*pods, DENY_ALL]))
    (tmp_path / "deny-all.yaml").write_text(yaml.safe_dump(DENY_ALL))
    lake = Lake(tmp_path / "lake")
    lake.start()
    lake.add(history(*ROWS).collect())
    lake.flush()
    return tmp_path


def ask(folder: Path, question: str, *arguments: str, state: str = "state.yaml") -> int:
    places = ["--state", str(folder / state), "--lake", str(folder / "lake")]
    return main(["policy", question, *places, *arguments])


def test_whatif_lists_what_is_cut_and_says_what_the_record_covers(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = ("-f", str(folder / "deny-all.yaml"))
    assert ask(folder, "whatif", *change) == 0
    out, err = capsys.readouterr()
    first, *_ = (json.loads(line) for line in out.splitlines())
    assert (first["change"], first["source_workload"], first["connections"]) == ("cut", "web", 5)
    assert (first["protocol"], first["last_seen"]) == ("TCP", "2026-03-04T12:00:00Z")
    assert "8 connections of 5 distinct pairs" in err
    assert "3.0 days on 4 different days" in err
    assert "rare: 4 pairs" in err
    assert "by workload: 1 connection of pods that are gone" in err
    assert "not judged: 1 connection of 1 pair, source: the pod is gone, and so is its workload" in err
    assert "cut: 7 connections" in err


def test_whatif_is_a_gate(folder: Path) -> None:
    change = ("-f", str(folder / "deny-all.yaml"), "--fail-on-deny")
    assert ask(folder, "whatif", *change) == 1
    assert ask(folder, "whatif", *change, state="guarded.yaml") == 0
    assert ask(folder, "whatif", "--remove", "NetworkPolicy/shop/deny-all", "--fail-on-deny", state="guarded.yaml") == 0


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_whatif_in_every_format(folder: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(folder, "whatif", "-f", str(folder / "deny-all.yaml"), "-o", form) == 0
    out = capsys.readouterr().out
    if form == "json":
        told = json.loads(out)
        assert "distinct pairs" in told["record"][0]
        assert [row["change"] for row in told["rows"]] == ["cut"] * 3
    else:
        assert "NetworkPolicy shop/deny-all isolates" in out
        assert len(out.splitlines()) == 4


def test_a_time_span_reads_that_part_of_the_lake_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(folder, "coverage", "--since", "2026-03-02", "--until", "2026-03-04") == 0
    assert "2 connections of 1 distinct pair" in capsys.readouterr().err


def test_of_two_objects_of_one_name_the_later_is_there_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As with `kubectl apply`: what it replaced denies nothing, and is not there when it is taken away."""
    open_all = DENY_ALL | {"spec": {"podSelector": {}, "ingress": [{}]}}
    pods = yaml.safe_load_all((folder / "state.yaml").read_text())
    (folder / "twice.yaml").write_text(yaml.safe_dump_all([*pods, DENY_ALL, open_all]))
    assert ask(folder, "coverage", "--by", "namespace", state="twice.yaml") == 0
    rows = {row["namespace"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert not rows["shop"]["denies_ingress"]
    remove = ("--remove", "NetworkPolicy/shop/deny-all", "--fail-on-deny")
    assert ask(folder, "whatif", *remove, state="twice.yaml") == 0


def test_spans_are_before_now() -> None:
    before = datetime.now(UTC)
    assert before <= moment("36h") + timedelta(hours=36) <= datetime.now(UTC)
    assert moment("2026-03-01T12:00:00+02:00") == datetime(2026, 3, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "-f or --remove"),
        (("--remove", "NetworkPolicy/shop/nothing"), "known: NetworkPolicy/shop/deny-all"),
        (("-f", "broken.yaml"), "spec.ingress[0].ports[0].port"),
        (("-f", "empty.yaml", "--fail-on-deny"), "empty.yaml holds no object"),
    ],
)
def test_a_change_that_cannot_be_is_wrong_use(
    folder: Path, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = DENY_ALL | {"spec": {"podSelector": {}, "ingress": [{"ports": [{"port": 70000}]}]}}
    (folder / "broken.yaml").write_text(yaml.safe_dump(broken))
    (folder / "empty.yaml").touch()
    given = [str(folder / item) if item.endswith(".yaml") else item for item in arguments]
    assert ask(folder, "whatif", *given, state="guarded.yaml") == 2
    assert said in capsys.readouterr().err


def test_unused_lists_rules_with_a_finding(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rule = {"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": 5432}]}
    idle = {"from": [{"podSelector": {"matchLabels": {"app": "job"}}}], "ports": [{"port": 1}]}
    spec = {"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [rule, idle]}
    policy = DENY_ALL | {"metadata": {"name": "guard", "namespace": "shop"}, "spec": spec}
    with (folder / "state.yaml").open("a") as state:
        state.write("---\n" + yaml.safe_dump(policy))
    assert ask(folder, "unused") == 0
    out, err = capsys.readouterr()
    (row,) = (json.loads(line) for line in out.splitlines())
    assert (row["rule"], row["findings"]) == ("2", ["unused", "selects nothing"])
    assert "1 of 2 rules have a finding" in err
    assert ask(folder, "unused", "--all") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_coverage_names_open_namespaces(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(folder, "coverage", "--by", "namespace", state="guarded.yaml") == 0
    out, err = capsys.readouterr()
    shop = next(row for row in map(json.loads, out.splitlines()) if row["namespace"] == "shop")
    assert (shop["denies_ingress"], shop["denies_egress"], shop["isolated_ingress"]) == (True, False, 3)
    assert "namespaces without deny-all in both directions: batch, kube-system, shop" in err


def test_coverage_as_a_table_is_a_line_a_direction_with_sizes_to_read(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(folder, "coverage", "--by", "namespace", "-o", "table", state="guarded.yaml") == 0
    header, *lines = (line.split() for line in capsys.readouterr().out.splitlines())
    assert header[:5] == ["namespace", "pods", "direction", "denies_all", "isolated"]
    assert [line[2:5] for line in lines if line[0] == "shop"] == [["ingress", "true", "3"], ["egress", "false", "0"]]
    assert {line[6] for line in lines} <= {"B", "kB", "MB"}


def test_as_a_table_an_end_is_one_column_and_why_comes_last(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(folder, "mismatches", "-o", "table", state="guarded.yaml") == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["mismatch", "from", "to", "port", "connections", "bytes", "last_seen", "responsible"]
    assert lines
    for line in lines:
        assert re.search(r"although denied +\S+ +shop/\S+ +\d+/tcp +\d", line), line
    assert ask(folder, "unused", "--all", "-o", "table", state="guarded.yaml") == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["direction", "policy", "rule"]
    assert all(len(header.split()) == 9 and "NetworkPolicy shop/" in line for line in lines)


def test_a_state_of_which_nothing_can_be_read_is_no_answer(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.yaml").write_text("a: [\n")
    assert ask(folder, "unused", state="bad.yaml") == 2
    assert f"--state: nothing can be read: {folder / 'bad.yaml'}: document 1" in capsys.readouterr().err


def test_mismatches_lists_what_is_answered_although_denied(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(folder, "mismatches", state="guarded.yaml") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(row["mismatch"], row["connections"]) for row in rows} >= {("answered although denied", 5)}


def test_mismatches_are_of_the_time_where_the_history_was_judged(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By today's policies all five would be mismatches; when they were seen, one was."""
    then = {"verdict": "denied", "mismatch": "established_denied", "start": later(0)}
    rows = [
        seen(
            "web-1", "db-0", 5432, **then, ingress_policies=["isolates NetworkPolicy/shop/guard/"], egress_policies=[]
        ),
        *(seen("web-1", "db-0", 5432, verdict="allowed") for _ in range(3)),
        seen("web-1", "db-0", 5432),
    ]
    lake = Lake(tmp_path / "judged")
    lake.start()
    lake.add(history(*rows).collect())
    lake.flush()
    asked = ["policy", "mismatches", "--state", str(folder / "guarded.yaml"), "--lake", str(tmp_path / "judged")]
    assert main(asked) == 0
    out, err = capsys.readouterr()
    (row,) = (json.loads(line) for line in out.splitlines())
    assert (row["mismatch"], row["connections"]) == ("answered although denied", 1)
    assert row["responsible"] == ["isolates NetworkPolicy/shop/guard/"]
    assert "judged by the policies of the time: 4 of 5 connections" in err
    assert "not judged when they were seen: 1" in err
    assert main([*asked, "--by", "state"]) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["connections"] for line in out.splitlines()] == [5]
    assert "judged by the policies in --state" in err


def test_mismatches_of_the_time_need_a_history(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["policy", "mismatches", "--state", str(folder / "state.yaml"), "--by", "time"]
    assert main([*asked, "--flows", str(folder / "flows.jsonl")]) == 2
    assert "--by time: a file of flows has no marks" in capsys.readouterr().err
    assert main([*asked, "--lake", str(folder / "lake")]) == 0
    assert "judged by the policies of the time: 0 of 8 connections" in capsys.readouterr().err


def test_suggest_writes_policies_that_pass_their_own_replay(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(folder, "suggest", "-n", "shop", "--deny-all") == 0
    text = capsys.readouterr().out
    names = [item["metadata"]["name"] for item in yaml.safe_load_all(text) if item]
    assert names == ["allow-db", "allow-web", "deny-all"]
    assert "# replayed: 0 recorded legitimate connections cut, 6 let through; 1 other newly denied" in text
    (folder / "suggested.yaml").write_text(text)
    assert ask(folder, "whatif", "-f", str(folder / "suggested.yaml")) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["source_workload"] for row in rows] == ["job-9"]


def test_suggest_knows_the_namespaces_and_says_where_nothing_was_seen(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(folder, "suggest", "-n", "nowhere") == 2
    assert "known: batch, kube-system, shop" in capsys.readouterr().err
    assert ask(folder, "suggest", "-n", "kube-system") == 1
    assert "nothing legitimate is recorded" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--exclude", "batch/jobb"), "--exclude: neither the state nor the record has batch/jobb"),
        (("--exclude", "shop/weeb"), "has shop/weeb; did you mean shop/web?"),
        (("--exclude", "web"), "has web"),
        (("--workload", "weeb"), "--workload: neither the state nor the record has shop/weeb; did you mean shop/web?"),
    ],
)
def test_a_workload_that_is_none_is_not_taken_for_one_ruled_out(
    folder: Path, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else the traffic that was meant to be left out would be allowed, and nothing would say so."""
    assert ask(folder, "suggest", "-n", "shop", *arguments) == 2
    assert said in capsys.readouterr().err


def test_workloads_that_are_gone_or_were_never_seen_can_be_ruled_out(folder: Path) -> None:
    for name in ("shop/web", "batch/job-9", "kube-system/dns"):
        assert ask(folder, "suggest", "-n", "shop", "--exclude", name) in {0, 1}


def flow(source: str, destination: str, **more: Any) -> str:
    return json.dumps({"src_ip": IPS[source], "dst_ip": IPS[destination], "dst_port": 5432, "protocol": "TCP", **more})


def test_a_file_of_flows_is_a_record_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flows = folder / "flows.jsonl"
    flows.write_text(flow("web-1", "db-0", time="2026-03-01T12:00:00Z") + "\n" + flow("web-2", "db-0") + "\n")
    places = ["--state", str(folder / "state.yaml"), "--flows", str(flows)]
    assert main(["policy", "whatif", *places, "-f", str(folder / "deny-all.yaml")]) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["connections"] for line in out.splitlines()] == [2]
    assert "2 connections of 2 distinct pairs" in err
    assert main(["policy", "coverage", *places, "--since", "7d"]) == 2
    assert "of a lake only" in capsys.readouterr().err


def test_a_capture_is_a_record_of_connections(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both ways of a connection are one, and what has no way back was not answered."""
    there = next(case.frame for case in CASES if case.name == "ethernet, IPv4")  # 10.0.0.1:1234 to 10.0.0.2:80
    back = there[:26] + there[30:34] + there[26:30] + there[36:38] + there[34:36] + there[38:]
    alone = there[:34] + b"\x00\x07" + there[36:]
    (folder / "capture.pcap").write_bytes(pcap([there, back, alone]))
    places = ["--state", str(folder / "state.yaml"), "--flows", str(folder / "capture.pcap")]
    assert main(["policy", "whatif", *places, "-f", str(folder / "deny-all.yaml")]) == 0
    (row,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (row["source_workload"], row["port"], row["connections"], row["failed"]) == ("web", 80, 2, 1)


def test_a_part_of_the_history_is_a_record_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (part,) = (folder / "lake").glob("flows/date=2026-03-04/hour=12/*.parquet")
    assert main(["policy", "coverage", "--state", str(folder / "state.yaml"), "--flows", str(part)]) == 0
    assert "1 connection of 1 distinct pair\n" in capsys.readouterr().err


def test_explain_walks_one_connection(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = ["--state", str(folder / "guarded.yaml")]
    assert main(["explain", *state, "--from", "shop/web-1", "--to", "shop/db-0", "--port", "5432"]) == 0
    text = capsys.readouterr().out
    assert "Pod shop/web-1, uid uid-web-1" in text
    assert "NetworkPolicy shop/deny-all selects it (every pod of namespace shop) -> isolates" in text
    assert text.endswith("Verdict: denied\n")
    flows = folder / "flows.jsonl"
    flows.write_text(flow("web-1", "db-0") + "\n" + flow("db-0", "job-9") + "\n")
    assert main(["explain", *state, "--flows", str(flows), "--row", "2", "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "allowed"
    assert told["backends"][0]["ingress"]["verdict"] == "unprotected"


def explaining(folder: Path, rows: Sequence[dict[str, Any]]) -> list[str]:
    """A watcher has told that; the command that asks of a connection."""
    told = state(1, 0, rows)
    topic = folder / STATE.topic / told.node
    topic.mkdir(parents=True)
    (topic / f"{1:020}-{0:012}.seg").write_bytes(pack_record(told.headers(), told.value))
    asked = ["--from", "shop/web-1", "--to", "shop/db-0", "--port", "5432"]
    return ["explain", "--state", "bus", "--bus", f"file://{folder}", *asked]


def test_explain_reads_what_a_watcher_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As of a time: before the policy was there, and behind it, with versions and since when."""
    began = 1_772_366_400_000_000_000
    ends = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop", "resourceVersion": "5"},
         "status": {"podIP": ip}}
        for name, ip in IPS.items()
    ]  # fmt: skip
    guard = DENY_ALL | {"metadata": {"name": "deny-all", "namespace": "shop", "resourceVersion": "9"}}
    rows = [put(began, body) for body in ends] + [synced(began), put(began + 10 * 10**9, guard), mark(began + 10**11)]
    command = explaining(tmp_path, rows)
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "Pod shop/web-1, version 5" in text
    assert "-> isolates [since 2026-03-01T12:00:10.000Z]\n      as of version 9" in text
    assert main([*command, "--time", "2026-03-01T12:00:05Z"]) == 0
    assert capsys.readouterr().out.endswith("Verdict: allowed\n")


def test_explain_asks_for_the_address_that_a_pod_had_at_the_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pod of a StatefulSet keeps its name and gets another address; its old one may be another pod's by now."""
    began = 1_772_366_400_000_000_000

    def told_pod(name: str, ip: str, uid: str) -> dict[str, Any]:
        metadata = {"name": name, "namespace": "shop", "uid": uid}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"podIP": ip}}

    rows = [put(began, told_pod("web-1", IPS["web-1"], "w")), put(began, told_pod("db-0", IPS["db-0"], "d"))]
    rows += [synced(began), mark(began + 9 * 10**9), put(began + 10 * 10**9, told_pod("db-0", "10.0.0.77", "e"))]
    rows += [put(began + 11 * 10**9, told_pod("job-9", IPS["db-0"], "j")), mark(began + 10**11)]
    command = explaining(tmp_path, rows)
    assert main(command) == 0
    assert "to Pod shop/db-0 (10.0.0.77)" in capsys.readouterr().out
    assert main([*command, "--time", "2026-03-01T12:00:05Z"]) == 0
    assert f"to Pod shop/db-0 ({IPS['db-0']})" in capsys.readouterr().out
    assert main([*command[:6], "shop/job-9", *command[7:], "--time", "2026-03-01T12:00:05Z"]) == 2
    assert "had no address at that time" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "shop/web-1"), "--from, --to and --port"),
        (("--bus", "file:///tmp/x", "--from", "shop/web-1"), "goes with --state bus"),
        (("--from", "shop/x", "--to", "shop/db-0", "--port", "1"), "--from: shop/x is no address"),
        (("--from", "shop/web-1", "--to", "2001:db8::1", "--port", "1"), "no address of one family"),
        (("--from", "shop/web-1", "--to", "shop/db-0", "--port", "1", "--protocol", "x"), "--protocol: x"),
    ],
)
def test_explain_needs_a_whole_connection(
    folder: Path, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", "--state", str(folder / "state.yaml"), *arguments]) == 2
    assert said in capsys.readouterr().err
