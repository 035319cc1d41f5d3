"""The alert rules: fresh, without findings, each with its runbook, and firing when and only when they should.

Prometheus' own `promtool` runs the committed file over series that are written here.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.alerts import ALERTS, Alert
from dashboards.rules import RULES, build, check, to_text
from pipeline.catalog import BY_NAME
from pipeline.cli.main import main, parser

ROOT = Path(__file__).resolve().parents[2]
BY_ALERT = {alert.name: alert for alert in ALERTS}

PAIR = (
    'source_namespace="shop",source_workload="web",source_workload_kind="Deployment",'
    'destination_namespace="data",destination_workload="db",destination_workload_kind="StatefulSet"'
)
SERVICE = 'service_namespace="shop",service="cart",service_port="http"'
MISMATCH = "flowatlas_policy_mismatch_connections_total"
AFFINITY = "flowatlas_service_affinity_connections_total"
NO_ENDPOINT = "flowatlas_service_no_endpoint_connections_total"
AGE = "flowatlas_state_age_seconds"
NEWEST = "flowatlas_pipeline_last_observation_timestamp_seconds"
ROWS = "flowatlas_pipeline_rows_total"
BYPASS = "flowatlas_dns_bypass_queries_total"
LOST = "flowatlas_collector_lost_rows_total"
ONE = 'instance="a:1"'
LOST_FLOWS = f'{LOST}{{table="flows",reason="bus_full",{ONE}}}'


@dataclass(frozen=True, slots=True)
class Case:
    """Series, a sample a minute from minute 0 on, and the number of alerts that fire at `minute`."""

    alert: str
    about: str
    series: dict[str, str]
    minute: int
    firing: int


def mismatch(kind: str, values: str, **more: str) -> dict[str, str]:
    labels = "".join(f',{label}="{value}"' for label, value in more.items())
    return {f'{MISMATCH}{{mismatch="{kind}",{PAIR}{labels}}}': values}


def covered(share: str, carried: str) -> dict[str, str]:
    pod = 'node="n1",namespace="shop",pod="cart-1"'
    counters = {f'container_network_{way}_bytes_total{{{pod},interface="eth0"}}' for way in ("receive", "transmit")}
    return {f"flowatlas_capture_coverage_ratio{{{pod}}}": share, **dict.fromkeys(sorted(counters), carried)}


def asked(**values: str) -> dict[str, str]:
    """Questions of one workload by response code, or by class of name where that is what tells them apart."""
    client = 'source_namespace="shop",source_workload="web"'
    told = {name: (name, "NOERROR") if name in {"outside", "search"} else ("service", name) for name in values}
    return {
        f'flowatlas_dns_queries_total{{{client},name_class="{told[name][0]}",rcode="{told[name][1]}"}}': rate
        for name, rate in values.items()
    }


def took(fast: str, all_of_them: str) -> dict[str, str]:
    """Answers that came within half a second, and all; those that are slower came within a second."""
    client = 'source_namespace="shop",source_workload="web"'
    latency = "flowatlas_dns_latency_seconds"
    bounds = {"0.5": fast, "1.0": all_of_them, "+Inf": all_of_them}
    buckets = {f'{latency}_bucket{{{client},le="{bound}"}}': values for bound, values in bounds.items()}
    return {**buckets, f"{latency}_count{{{client}}}": all_of_them}


DENIED, DROPPED = "established_denied", "dropped_allowed"
CASES = [
    *(
        case
        for name, kind, other in (
            ("FlowatlasPolicyNotEnforced", DENIED, DROPPED),
            ("FlowatlasPolicyDropsAllowed", DROPPED, DENIED),
        )
        for case in (
            Case(name, "the first ever, of a new series", mismatch(kind, "_x20 1x40"), 23, 1),
            Case(name, "the first is over", mismatch(kind, "_x20 1x40"), 35, 0),
            Case(name, "one more", mismatch(kind, "3x20 4x40"), 25, 1),
            Case(name, "one more is over", mismatch(kind, "3x20 4x40"), 35, 0),
            Case(name, "no more than there were", mismatch(kind, "3x60"), 30, 0),
            Case(name, "the other mismatch", mismatch(other, "3+1x60"), 30, 0),
            Case(
                name,
                "two pipelines that see one pair are one alert",
                mismatch(kind, "3+1x60", instance="a:1") | mismatch(kind, "3+1x60", instance="b:1"),
                30,
                1,
            ),
        )
    ),
    Case(
        "FlowatlasServiceWithoutEndpoints", "dialled on and on", {f"{NO_ENDPOINT}{{{SERVICE}}}": "_x20 1+1x40"}, 35, 1
    ),
    Case("FlowatlasServiceWithoutEndpoints", "a rollout", {f"{NO_ENDPOINT}{{{SERVICE}}}": "_x20 1+1x3 4x40"}, 31, 0),
    Case("FlowatlasServiceWithoutEndpoints", "not dialled", {f"{NO_ENDPOINT}{{{SERVICE}}}": "9x60"}, 40, 0),
    Case(
        "FlowatlasServiceAffinityBroken",
        "the first ever",
        {f'{AFFINITY}{{affinity="broken",{SERVICE}}}': "_x20 1x40"},
        23,
        1,
    ),
    Case(
        "FlowatlasServiceAffinityBroken",
        "one more",
        {f'{AFFINITY}{{affinity="broken",{SERVICE}}}': "2x20 3x40"},
        25,
        1,
    ),
    Case(
        "FlowatlasServiceAffinityBroken",
        "kept and moved are well",
        {f'{AFFINITY}{{affinity="{how}",{SERVICE}}}': "1+5x60" for how in ("kept", "moved")},
        30,
        0,
    ),
    Case("FlowatlasStateStale", "the watcher is away", {f"{AGE}{{{ONE}}}": "1x10 61+60x40"}, 15, 1),
    Case("FlowatlasStateStale", "at the bound", {f"{AGE}{{{ONE}}}": "60x60"}, 15, 0),
    Case("FlowatlasStateStale", "back within the minute", {f"{AGE}{{{ONE}}}": "1x10 70 1x40"}, 12, 0),
    Case("FlowatlasCollectorSilent", "stands still", {f'{NEWEST}{{node="n1"}}': "0+60x10 600x40"}, 16, 1),
    Case(
        "FlowatlasCollectorSilent",
        "one pipeline has it",
        {
            f'{NEWEST}{{node="n1",instance="a:1"}}': "0x60",
            f'{NEWEST}{{node="n1",instance="b:1"}}': "0+60x60",
        },
        30,
        0,
    ),
    Case(
        "FlowatlasCollectorSilent", "two minutes are not more than two", {f'{NEWEST}{{node="n1"}}': "-120+60x60"}, 30, 0
    ),
    Case(
        "FlowatlasCollectorSilent",
        "the watcher is no collector",
        {
            f'{NEWEST}{{node="cluster-watcher"}}': "0x60",
            f'{ROWS}{{table="state",node="cluster-watcher"}}': "9x60",
        },
        30,
        0,
    ),
    Case(
        "FlowatlasCollectorSilent",
        "a collector that shares the watcher's name",
        {
            f'{NEWEST}{{node="n1"}}': "0x60",
            f'{ROWS}{{table="state",node="n1"}}': "9x60",
            f'{ROWS}{{table="flows",node="n1"}}': "9x60",
        },
        30,
        1,
    ),
    Case("FlowatlasLosses", "the first ever", {LOST_FLOWS: "_x20 7x40"}, 23, 1),
    Case("FlowatlasLosses", "more", {LOST_FLOWS: "7x20 9x40"}, 25, 1),
    Case("FlowatlasLosses", "a new series that is 0", {LOST_FLOWS: "_x20 0x40"}, 23, 0),
    Case("FlowatlasLosses", "no more", {LOST_FLOWS: "7x60"}, 30, 0),
    Case("FlowatlasCaptureIncomplete", "a share is missed", covered("1x10 0.97x50", carried="0+60000x60"), 25, 1),
    Case("FlowatlasCaptureIncomplete", "not for long", covered("1x10 0.97x5 1x45", carried="0+60000x60"), 25, 0),
    Case("FlowatlasCaptureIncomplete", "at the bound", covered("0.98x60", carried="0+60000x60"), 30, 0),
    Case("FlowatlasCaptureIncomplete", "of next to nothing", covered("0.5x60", carried="0+60x60"), 30, 0),
    Case("FlowatlasCaptureIncomplete", "more than all", covered("1.5x60", carried="0+60000x60"), 30, 0),
    Case(
        "FlowatlasDnsErrors",
        "failures and silence together are one of ten",
        asked(NOERROR="0+90x60", SERVFAIL="0+5x60", no_answer="0+5x60"),
        30,
        1,
    ),
    Case("FlowatlasDnsErrors", "at the bound", asked(NOERROR="0+95x60", SERVFAIL="0+5x60"), 30, 0),
    Case("FlowatlasDnsErrors", "names that are not there", asked(NOERROR="0+50x60", NXDOMAIN="0+50x60"), 30, 0),
    Case("FlowatlasDnsErrors", "of next to nothing", asked(NOERROR="0x60", SERVFAIL="0+4x60"), 30, 0),
    Case("FlowatlasDnsErrors", "over within five minutes", asked(NOERROR="0+90x60", SERVFAIL="0x20 60x40"), 23, 0),
    Case("FlowatlasDnsSlow", "two of 100 are slow", took("0+98x60", "0+100x60"), 40, 1),
    Case("FlowatlasDnsSlow", "one of 200 is slow", took("0+199x60", "0+200x60"), 40, 0),
    Case("FlowatlasDnsSlow", "of next to nothing", took("0x60", "0+1x60"), 40, 0),
    Case("FlowatlasDnsSearchWaste", "three of four", asked(outside="0+30x200", search="0+90x200"), 190, 1),
    Case("FlowatlasDnsSearchWaste", "half", asked(outside="0+60x200", search="0+60x200"), 190, 0),
    Case("FlowatlasDnsSearchWaste", "less than one a second", asked(outside="0+10x200", search="0+30x200"), 190, 0),
    Case("FlowatlasDnsBypass", "the first ever", {f"{BYPASS}{{{PAIR}}}": "_x20 1x40"}, 23, 1),
    Case("FlowatlasDnsBypass", "one more", {f"{BYPASS}{{{PAIR}}}": "3x20 4x40"}, 25, 1),
    Case("FlowatlasDnsBypass", "no more than there were", {f"{BYPASS}{{{PAIR}}}": "3x60"}, 30, 0),
]


def labels_of(alert: Alert) -> dict[str, str]:
    """The labels that the first firing case's alert has, and its value's text where its annotations tell it."""
    pair = {"source_namespace": "shop", "source_workload": "web"}
    pair |= {"destination_namespace": "data", "destination_workload": "db"}
    service = {"service_namespace": "shop", "service": "cart", "service_port": "http"}
    return {
        "FlowatlasStateStale": {"instance": "a:1"},
        "FlowatlasCollectorSilent": {"node": "n1"},
        "FlowatlasLosses": {"instance": "a:1", "table": "flows", "reason": "bus_full"},
        "FlowatlasCaptureIncomplete": {"node": "n1", "namespace": "shop", "pod": "cart-1"},
        "FlowatlasDnsErrors": {"source_namespace": "shop", "source_workload": "web"},
        "FlowatlasDnsSearchWaste": {"source_namespace": "shop", "source_workload": "web"},
        "FlowatlasDnsSlow": {"source_namespace": "shop"},
    }.get(alert.name, service if alert.group == "flowatlas-services" else pair)


def rendered(text: str, labels: dict[str, str], value: str) -> str:
    """An annotation as Prometheus would render it."""
    text = re.sub(r"\{\{ \$value \| humanize\w+ \}\}", value, text)
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: labels[match[1]], text)


VALUES = {
    "FlowatlasStateStale": "5m 1s",
    "FlowatlasCollectorSilent": "6m 0s",
    "FlowatlasCaptureIncomplete": "97%",
    "FlowatlasDnsErrors": "10%",
    "FlowatlasDnsSlow": "750ms",
    "FlowatlasDnsSearchWaste": "75%",
}
"""How old the thing is in the first firing case, or how large the share, as Prometheus tells them."""


def expected(case: Case, value: str) -> dict[str, Any]:
    alert = BY_ALERT[case.alert]
    labels = labels_of(alert)
    return {
        "exp_labels": {"severity": alert.severity, **labels},
        "exp_annotations": {
            "summary": rendered(alert.summary, labels, value),
            "description": rendered(alert.description, labels, value),
            "runbook_url": alert.runbook,
        },
    }


def promtool(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_the_committed_file_is_what_the_program_builds(tmp_path: Path) -> None:
    """`flowatlas rules build` would change nothing."""
    assert RULES.read_text() == build(tmp_path / "new" / "alerts.yaml").read_text()


def test_building_twice_gives_equal_text() -> None:
    assert to_text() == to_text()


def test_nothing_is_wrong_with_it() -> None:
    assert check() == []


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_every_alert_has_its_runbook(alert: Alert) -> None:
    text = (ROOT / alert.runbook).read_text()
    assert text.startswith(f"# {alert.name}\n")
    assert next(line for line in text.splitlines() if line.startswith("## ")) == "## Meaning"
    assert "\n## Likely causes" in text
    assert "\n## What to run\n\n" in text


def test_there_is_no_runbook_of_an_alert_that_is_gone() -> None:
    assert {f"docs/runbooks/{path.name}" for path in (ROOT / "docs/runbooks").glob("*")} == {a.runbook for a in ALERTS}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_commands_and_metrics_of_the_runbook_are_real(alert: Alert) -> None:
    """Every `flowatlas` line is one that the command line takes; every metric told in full is in the catalogue."""
    text = (ROOT / alert.runbook).read_text()
    commands = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    assert commands
    for command in commands:
        if command.startswith("flowatlas "):
            parser().parse_args(shlex.split(re.sub(r"\bPORT\b", "80", command))[1:])
    told = set(re.findall(r"\bflowatlas_\w+_(?:total|seconds|bytes|ratio)\b", text))
    assert told - set(BY_NAME) == set()


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_links_of_the_runbook_lead_somewhere(alert: Alert) -> None:
    page = ROOT / alert.runbook
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).is_file()] == []


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("expr", "sum(", "does not parse"),
        ("expr", "up == 0", "no metric up in the catalogue"),
        ("expr", "sum by (pod) (flowatlas_state_objects)", "groups by a label that is not there: pod"),
        ("for", None, "has no for"),
        ("labels", {"team": "a"}, "has no severity"),
        ("annotations", None, "has no runbook_url"),
        ("annotations", {"summary": "", "description": "d", "runbook_url": "r"}, "has no summary"),
        ("annotations", {"summary": "{{ $labels.pod }}"}, "tells a label that its result does not have: pod"),
    ],
)
def test_what_is_wrong_is_found(tmp_path: Path, key: str, value: object, problem: str) -> None:
    document = yaml.safe_load(to_text())
    document["groups"][0]["rules"][0][key] = value
    path = tmp_path / "alerts.yaml"
    path.write_text(yaml.safe_dump(document))
    findings = check(path)
    assert {finding.place for finding in findings} == {ALERTS[0].name}
    assert any(problem in finding.problem for finding in findings)


@pytest.mark.parametrize("text", ["{", "[]", "groups: [{rules: [{expr: up}]}]", "groups: []", ""])
def test_a_file_that_holds_no_alerts_is_one_finding(tmp_path: Path, text: str) -> None:
    path = tmp_path / "alerts.yaml"
    path.write_text(text)
    assert len(check(path)) == 1


def test_the_command_builds_and_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rules.yaml"
    assert main(["rules", "build", "--out", str(path)]) == 0
    assert main(["rules", "check", str(path)]) == 0
    path.write_text(path.read_text().replace("flowatlas_state_age_seconds", "flowatlas_state_age"))
    assert main(["rules", "check", str(path)]) == 1
    told = capsys.readouterr()
    assert told.out == f"{path}\nall alerts are right\n1 findings\n"
    assert told.err == "rules: FlowatlasStateStale: no metric flowatlas_state_age in the catalogue\n"


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    assert {case.alert for case in CASES if case.firing} == set(BY_ALERT)
    assert {case.alert for case in CASES if not case.firing} == set(BY_ALERT)


@pytest.mark.prometheus
def test_promtool_accepts_the_file() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


@pytest.mark.prometheus
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.about}")
def test_it_fires_when_it_should_and_only_then(tmp_path: Path, case: Case) -> None:
    """Alerts are compared with all labels and annotations, so one that renders a label as nothing fails here."""
    first = next(c for c in CASES if c.alert == case.alert and c.firing)
    value = VALUES.get(case.alert, "") if case is first else "30m 0s"
    (tmp_path / "test.yaml").write_text(
        yaml.safe_dump(
            {
                "rule_files": [str(RULES)],
                "evaluation_interval": "1m",
                "tests": [
                    {
                        "interval": "1m",
                        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
                        "alert_rule_test": [
                            {
                                "eval_time": f"{case.minute}m",
                                "alertname": case.alert,
                                "exp_alerts": [expected(case, value)] * case.firing,
                            }
                        ],
                    }
                ],
            }
        )
    )
    done = promtool("test", "rules", "test.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
