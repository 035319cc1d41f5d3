"""The rule files: fresh, without findings, each alert with its runbook and with cases in `alerts/`."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from dashboards.alerts import ALERTS, Alert
from dashboards.promql import read
from dashboards.recordings import RECORDED, RECORDINGS, Recording
from dashboards.rules import RULES, SHIM_RULES, build, check, shims_text, to_text
from dashboards.shims import SHIMS
from pipeline.catalog import BY_NAME
from pipeline.cli.main import main, parser
from tests.dashboards import promtool

ROOT = Path(__file__).resolve().parents[2]
SHELL = re.compile(r"(flowatlas|kubectl|echo|curl|nsenter|tcpdump|dmesg|kafka-[\w-]+\.sh) ")
"""How a line of a runbook begins that a shell takes."""


def test_the_committed_file_is_what_the_program_builds(tmp_path: Path) -> None:
    """`flowatlas rules build` would change nothing."""
    built = build(tmp_path / "new" / "alerts.yaml")
    assert [path.name for path in built] == ["alerts.yaml", "shims.yaml"]
    assert [path.read_text() for path in built] == [RULES.read_text(), SHIM_RULES.read_text()]


def test_building_twice_gives_equal_text() -> None:
    assert to_text() == to_text()
    assert shims_text() == shims_text()


@pytest.mark.parametrize("path", [RULES, SHIM_RULES])
def test_nothing_is_wrong_with_it(path: Path) -> None:
    assert check(path) == []


def test_every_recording_is_read_by_an_alert() -> None:
    read = " ".join(alert.expression for alert in ALERTS)
    assert [name for name in RECORDED if name not in read] == []


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.name)
def test_recordings_are_named_as_level_metric_and_operation(recording: Recording) -> None:
    """As Prometheus' practices want it; the metric is one of the catalogue but for what a selector took of it."""
    level, metric, operation = recording.name.split(":")
    assert re.fullmatch(r"[a-z_]+", level)
    assert re.fullmatch(r"(?:p99|sum|increase|ratio_rate)(?:_?\d+[mh])?", operation)
    assert metric.startswith("flowatlas_")


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
def test_queries_of_the_runbook_parse_and_name_labels_that_are_there(alert: Alert) -> None:
    """What is no line for a shell is for Prometheus; one that selects by name has what the node or family has."""
    text = (ROOT / alert.runbook).read_text()
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    queries = [line for line in lines if not SHELL.match(line) and not line.startswith("{__name__")]
    assert [(query, read(query).problems) for query in queries if read(query).problems] == []


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_links_of_the_runbook_lead_somewhere(alert: Alert) -> None:
    page = ROOT / alert.runbook
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).is_file()] == []


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("expr", "sum(", "does not parse"),
        ("expr", "down == 0", "no metric down in the catalogue"),
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
    document["groups"][1]["rules"][0][key] = value
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


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("record", "a:b:sum", "is not declared"),
        ("expr", "sum(flowatlas_state_objects)", "has labels [], not ['service', 'service_namespace']"),
        ("expr", "sum by (service) (", "does not parse"),
    ],
)
def test_what_is_wrong_with_a_recording_is_found(tmp_path: Path, key: str, value: str, problem: str) -> None:
    document = yaml.safe_load(to_text())
    document["groups"][0]["rules"][0][key] = value
    path = tmp_path / "alerts.yaml"
    path.write_text(yaml.safe_dump(document))
    (finding,) = check(path)
    assert problem in finding.problem


def test_the_command_builds_and_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rules.yaml"
    assert main(["rules", "build", "--out", str(path)]) == 0
    assert main(["rules", "check", str(path)]) == 0
    path.write_text(path.read_text().replace("flowatlas_state_age_seconds", "flowatlas_state_age"))
    assert main(["rules", "check", str(path)]) == 1
    told = capsys.readouterr()
    assert told.out == f"{path}\n{path.with_name('shims.yaml')}\nall rules are right\n1 finding\n"
    assert told.err == "rules: FlowatlasStateStale: no metric flowatlas_state_age in the catalogue\n"


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    """Of the modules beside this one in `alerts/`, each of the topic that its alerts are in."""
    cases = []
    for path in sorted((Path(__file__).parent / "alerts").glob("test_*.py")):
        module = import_module(f"tests.dashboards.alerts.{path.stem}")
        topic = import_module(f"dashboards.alerts.{path.stem.removeprefix('test_')}")
        assert set(module.LABELS) == {alert.name for alert in topic.ALERTS}
        cases += module.CASES
    names = {alert.name for alert in ALERTS}
    assert {case.alert for case in cases if case.firing} == names
    assert {case.alert for case in cases if not case.firing} == names


@pytest.mark.prometheus
@pytest.mark.parametrize(("path", "rules"), [(RULES, len(ALERTS) + len(RECORDINGS)), (SHIM_RULES, len(SHIMS))])
def test_promtool_accepts_the_file(path: Path, rules: int) -> None:
    done = promtool.run("check", "rules", "--lint=all", "--lint-fatal", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{rules} rules found" in done.stdout
