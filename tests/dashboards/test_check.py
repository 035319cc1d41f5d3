"""The check as a user runs it: over a folder, and against a real Prometheus."""

from __future__ import annotations

import socket
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dashboards.build import build
from dashboards.check import check
from dashboards.prometheus import Prometheus, PrometheusError
from pipeline.catalog import SERIES
from tests.dashboards.exposition import served
from tests.prometheus_server import prometheus


def test_a_folder_without_dashboards_is_a_finding(tmp_path: Path) -> None:
    assert [finding.problem for finding in check(tmp_path)] == ["holds no dashboard (*.json)"]


def test_files_that_are_no_dashboards_are_findings_beside_the_others(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    build(tmp_path)
    assert {finding.dashboard for finding in check(tmp_path)} == {"broken", "list"}


def test_a_server_that_does_not_answer_is_one_finding() -> None:
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        findings = check(None, f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert [finding.dashboard for finding in findings] == ["Prometheus"]


def test_an_address_that_is_not_http_is_one_finding() -> None:
    assert "not an http" in str(check(None, "file:///etc/passwd")[0])


@pytest.mark.prometheus
def test_every_panel_has_data_where_every_metric_has(whole_prometheus: str) -> None:
    assert check(None, whole_prometheus) == []


@pytest.mark.prometheus
def test_panels_without_data_and_refused_queries_are_found(tmp_path: Path) -> None:
    """A healthy cluster has no failures: that is 0, not a finding; a metric that nobody exposes is one."""
    absent = frozenset({"flowatlas_connection_failures_total", "flowatlas_collector_rows_total"})
    absent |= {"flowatlas_collector_lost_rows_total"}
    with served(without=absent) as target, prometheus(tmp_path, target) as url:
        found = [str(finding) for finding in check(None, url)]
        assert [finding for finding in found if finding.startswith("overview")] == [
            "overview: Rows lost at collectors [A]: returns no data"
        ]
        with pytest.raises(PrometheusError, match="parse error"):
            Prometheus(url).instant("sum(", time.time())


@pytest.fixture
def asking_for_nobody(tmp_path: Path) -> Path:
    """Dashboards of which one asks an optional metric for what nobody has."""
    build(tmp_path)
    path = tmp_path / "external.json"
    path.write_text(
        path.read_text().replace(
            r"traffic_cost_total{namespace=~\"$namespace\"", r"traffic_cost_total{namespace=~\"nobody\""
        )
    )
    return tmp_path


@pytest.mark.prometheus
def test_a_panel_without_data_is_a_finding_where_its_optional_metric_is_there(
    whole_prometheus: str, asking_for_nobody: Path
) -> None:
    assert {finding.dashboard for finding in check(asking_for_nobody, whole_prometheus)} == {"external"}


@pytest.mark.prometheus
def test_a_panel_may_be_empty_where_its_optional_metric_is_not_there(asking_for_nobody: Path, tmp_path: Path) -> None:
    without = frozenset({"flowatlas_traffic_cost_total"})
    with served(without=without) as target, prometheus(tmp_path, target) as url:
        assert check(asking_for_nobody, url) == []


@pytest.mark.parametrize(("refused", "findings"), [((), 2), (("drops",), 1), (("tcp_health",), 0), (("dns",), 2)])
def test_a_panel_may_be_empty_where_no_kernel_tells_of_its_metric(
    monkeypatch: pytest.MonkeyPatch, refused: tuple[str, ...], findings: int
) -> None:
    """Only of metrics that the refused hook tells; anything else that is empty stays a finding."""

    class Refusing(Prometheus):
        def scrape_interval_s(self) -> float:
            return 15.0

        def label_values(self, label: str, selector: str) -> list[str]:
            return ["a"]

        def instant(self, expression: str, at_s: float) -> list[Any]:
            if "hook_info" in expression:
                return [{"metric": {"hook": hook}} for hook in refused]
            return [1]

        def range(self, expression: str, start_s: float, end_s: float, step_s: float) -> list[Any]:
            return [] if "flowatlas_tcp_rtt_seconds_count" in expression else [1]

    monkeypatch.setattr("dashboards.check.Prometheus", Refusing)
    empty = [str(finding) for finding in check(None, "http://127.0.0.1:1") if finding.dashboard == "workload"]
    assert len(empty) == findings, empty


def test_the_synthetic_exposition_is_valid() -> None:
    """The stand-in for the pipeline is read by the official parser, so the panels' data above means something."""
    with served() as target, urllib.request.urlopen(f"http://{target}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    names = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    assert names == set(SERIES)
