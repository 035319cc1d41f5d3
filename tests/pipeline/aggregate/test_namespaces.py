"""What namespaces exchange is what their workloads do, whatever the windows and snapshots were."""

from __future__ import annotations

from collections import Counter
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings

from pipeline.aggregate.flows import FlowMetrics
from pipeline.aggregate.namespaces import NamespaceMetrics
from pipeline.aggregate.samples import Samples
from pipeline.inventory.snapshot import Snapshot
from tests.pipeline.aggregate.test_flows import ATTRIBUTED, windows

SUMS = {
    "flowatlas_namespace_bytes_total": "flowatlas_flow_bytes_total",
    "flowatlas_namespace_connections_total": "flowatlas_connections_total",
    "flowatlas_namespace_connection_failures_total": "flowatlas_connection_failures_total",
}


def by(samples: Samples, labels: tuple[str, ...]) -> Counter[tuple[str, ...]]:
    counted: Counter[tuple[str, ...]] = Counter()
    rows = samples.labels.select(labels).rows()
    for row, value in zip(rows, samples.values.to_list(), strict=True):
        counted[row] += value
    return counted


@settings(deadline=None, max_examples=60)
@given(windows())
def test_sums_over_workloads_are_the_namespaces_own(history: list[tuple[Snapshot, list[dict[str, Any]], bool]]) -> None:
    metrics = FlowMetrics((NamespaceMetrics(),))
    for snapshot, rows, _ in history:
        metrics.use(snapshot)
        metrics.add(pl.DataFrame(rows, schema=ATTRIBUTED))
    found = {samples.metric.name: samples for samples in metrics.samples()}
    for narrow, wide in SUMS.items():
        labels = found[narrow].metric.labels
        told = by(found[narrow], labels)
        assert len(told) == found[narrow].labels.height, "a series is there twice"
        assert told == by(found[wide], labels)
        assert told.keys() == by(found[wide], labels).keys()


def test_flows_need_a_snapshot() -> None:
    with pytest.raises(RuntimeError, match="use"):
        NamespaceMetrics().add_workloads(pl.DataFrame(schema=ATTRIBUTED))
