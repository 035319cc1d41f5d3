"""Workloads that try many addresses or ports in vain."""

from __future__ import annotations

from pipeline.diagnosis.probing import probing
from tests.pipeline.diagnosis.broken_cluster import dialled, evidence


def tried(count: int) -> str:
    return f'flowatlas_workload_failed_destinations{{source_namespace="shop",source_workload="client"}} {count}\n'


def test_a_scan_is_told_with_where_it_went() -> None:
    rows = [dialled(port, reached=True, outcome="refused", backend_port=port) for port in (1, 2, 3)]
    rows += [dialled(9, reached=True, outcome="closed", backend_port=9)]
    (finding,) = probing(evidence(rows=rows, metrics=tried(101)))
    assert (finding.severity, finding.subject) == ("warning", "workload shop/client")
    assert finding.evidence == (
        "101 addresses and ports refused or did not answer within the last 10 minutes",
        "3 of them of shop/web",
    )


def test_the_metric_alone_is_enough() -> None:
    (finding,) = probing(evidence(metrics=tried(300)))
    assert len(finding.evidence) == 1


def test_a_few_destinations_say_nothing() -> None:
    assert not list(probing(evidence(metrics=tried(100))))
