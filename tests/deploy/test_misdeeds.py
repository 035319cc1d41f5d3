"""The table of misdeeds against what is there: the lab's misdeeds, the alerts, the panels, the page."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from dashboards.alerts import ALERTS
from dashboards.rules import to_text
from deploy.demo.aside import HEALTH, NEEDED
from deploy.demo.misdeeds import (
    NOT_IN_THE_LAB,
    OF_FLOWATLAS,
    PIPELINE_DOWN,
    SILENT_COLLECTOR,
    TROUBLES,
    page_reasons,
    page_rows,
)
from deploy.demo.quickened import quickened
from deploy.demo.trouble import Notice, queries, report
from deploy.lab.cluster import MANIFESTS
from deploy.lab.misdeeds import MISDEEDS
from deploy.lab.objects import Cluster, load
from deploy.lab.scenarios import plan
from pipeline.catalog import METRICS

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "scenarios.md"


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return load(MANIFESTS)


def test_every_misdeed_of_the_lab_is_told_of_and_no_other() -> None:
    assert set(TROUBLES) == {*MISDEEDS, *OF_FLOWATLAS}


def test_all_but_two_of_flowatlas_own_happen_aside() -> None:
    """These two are done to the run itself; of the others an aside process shows each, and none shows anything else."""
    assert {*NEEDED, SILENT_COLLECTOR, PIPELINE_DOWN} == {*OF_FLOWATLAS, "full-table"}


def test_what_is_aside_keeps_its_own_health_alone() -> None:
    """A name that Prometheus keeps of them tells of no traffic of the lab's."""
    kept = {metric.name for metric in METRICS if re.fullmatch(HEALTH, metric.name)}
    assert {"flowatlas_bus_lag_messages", "flowatlas_state_age_seconds", "flowatlas_series_folded_total"} <= kept
    assert not kept & {"flowatlas_pipeline_series", "flowatlas_connections_total", "flowatlas_capture_coverage_ratio"}


def test_every_alert_is_set_off_or_said_not_to_be() -> None:
    set_off = {trouble.alert for trouble in TROUBLES.values()}
    assert set_off | set(NOT_IN_THE_LAB) == {alert.name for alert in ALERTS}
    assert not set_off & set(NOT_IN_THE_LAB)


@pytest.mark.parametrize("name", [name for name, trouble in TROUBLES.items() if trouble.panel])
def test_every_panel_is_there_and_asks_something(name: str) -> None:
    panel = TROUBLES[name].panel
    assert panel is not None
    assert list(queries(panel))


def test_the_page_has_the_table() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith(("| `", "| ["))]
    assert rows == [*page_rows(), *page_reasons()]


def test_rules_are_quickened_in_durations_alone() -> None:
    """Thresholds and names stay, and nothing waits longer than a minute but windows of minutes."""
    duration = re.compile(r"\b\d+[smhdw]\b")
    before, after = (yaml.safe_load(text)["groups"] for text in (to_text(), quickened(to_text())))
    pairs = [
        (a, b)
        for one, other in zip(before, after, strict=True)
        for a, b in zip(one["rules"], other["rules"], strict=True)
    ]
    assert [duration.sub("", a["expr"]) for a, _ in pairs] == [duration.sub("", b["expr"]) for _, b in pairs]
    assert {b["for"] for _, b in pairs if "for" in b} == {"1s"}
    windows = {found for _, b in pairs for found in re.findall(r"(?:\[|offset )(\d+[smhdw])", b["expr"])}
    assert not {window for window in windows if window[-1] in "hdw"}


@pytest.mark.parametrize("name", MISDEEDS)
def test_a_misdeed_adds_to_the_plan_and_takes_nothing_away(cluster: Cluster, name: str) -> None:
    misdeed = MISDEEDS[name]
    ordinary = plan(cluster, 30, 1, 1, enforced=True)
    more = plan(cluster, 30, 1, 1, enforced=True, more=[misdeed.traffic])
    counts = [sum(len(job["actions"]) for job in jobs.values()) for jobs in (ordinary, more)]
    assert counts[0] <= counts[1]
    is_quiet = not list(misdeed.deeds(cluster)) and name != "open-namespace"
    assert counts[0] < counts[1] or not is_quiet


@pytest.mark.root
@pytest.mark.parametrize("name", [name for name, misdeed in MISDEEDS.items() if list(misdeed.deeds(load(MANIFESTS)))])
def test_rules_of_a_misdeed_are_understood(cluster: Cluster, name: str) -> None:
    for deed in MISDEEDS[name].deeds(cluster):
        if deed.command[:2] == ("nft", "-f"):
            check = ["unshare", "--net", "nft", "--check", "--file", "-"]
            done = subprocess.run(check, input=deed.text, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr


def test_the_report_says_what_went_unnoticed() -> None:
    seen = Notice(TROUBLES["no-endpoints"], is_firing=True, is_shown=True, is_found=True)
    unseen = Notice(TROUBLES["skew"], is_firing=True, is_shown=False, is_found=None)
    assert seen.ok
    assert not unseen.ok
    text = report([seen, unseen], ["no-endpoints"])
    assert "NO: services, Least even load" in text
    assert "fired before the misdeeds too, of the lab's ordinary mishaps: no-endpoints" in text
    assert text.endswith("NOT OK")
