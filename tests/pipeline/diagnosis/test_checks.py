"""All checks together: what runs, in which order it is told, and what it reads."""

from __future__ import annotations

from pipeline.catalog import BY_NAME
from pipeline.diagnosis.checks import CHECKS, NAMES, diagnose
from pipeline.diagnosis.evidence import Cluster, Evidence
from pipeline.diagnosis.health import COLLECTOR_NAMES, PIPELINE_NAMES
from tests.pipeline.diagnosis.broken_cluster import evidence, pod, service, slice_of


def test_every_metric_that_is_read_is_in_the_catalogue() -> None:
    assert set(BY_NAME) >= NAMES | PIPELINE_NAMES | COLLECTOR_NAMES


def test_a_check_runs_only_where_what_it_reads_is_known_and_the_others_say_what_they_lack() -> None:
    diagnosis = diagnose(Evidence(frozenset(("state",)), Cluster((service(), slice_of("web")))))
    assert [finding.check for finding in diagnosis.findings] == ["endpoints"]
    lacking = dict(diagnosis.not_looked_for)
    assert lacking["DNS that fails"] == ("metrics",)
    assert lacking["Service addresses that a node does not translate"] == ("history",)
    assert len(diagnosis.looked_for) + len(lacking) == len(CHECKS)


def test_the_worst_comes_first() -> None:
    named = service("named", port={"port": 1, "targetPort": "x"})
    known = evidence(service(type="LoadBalancer"), slice_of("web"), named, pod("web-1", "10.0.0.1", app="web"))
    severities = [finding.severity for finding in diagnose(known).findings]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    assert {"error", "warning"} <= set(severities)


def test_nothing_known_is_nothing_found() -> None:
    assert not diagnose(evidence()).findings
