"""Entries of the catalogue agree with themselves and with each other."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from pipeline.catalog import METRICS, SERIES, Metric
from pipeline.catalog.metric import Kind

LABELS = ("node",)


def test_no_two_metrics_have_a_time_series_name_in_common() -> None:
    names = Counter(name for metric in METRICS for name in metric.series)
    assert [name for name, count in names.items() if count > 1] == []
    assert set(SERIES) == set(names)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_name_says_the_kind_and_the_unit(metric: Metric) -> None:
    """As Prometheus names metrics: counters end in _total, and before that (or last) comes the unit."""
    assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind in {"counter", "untyped"})
    if metric.unit in ("bytes", "seconds"):
        assert f"_{metric.unit}" in metric.name
    assert len(set(metric.labels)) == len(metric.labels)
    assert "le" not in metric.labels


def test_a_histogram_tells_the_series_that_prometheus_sees() -> None:
    metric = Metric("x_seconds", "histogram", "seconds", LABELS, "X.", buckets=(0.00001, 0.5, 1))
    assert metric.le == ("1e-05", "0.5", "1.0", "+Inf")
    assert metric.series == {"x_seconds_bucket": ("node", "le"), "x_seconds_sum": LABELS, "x_seconds_count": LABELS}


@pytest.mark.parametrize(
    ("kind", "buckets"),
    [("histogram", ()), ("counter", (1.0,)), ("histogram", (1.0, 1.0)), ("histogram", (2.0, 1.0))],
)
def test_buckets_that_make_no_sense_are_refused(kind: Kind, buckets: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="x_seconds"):
        Metric("x_seconds", kind, "seconds", LABELS, "X.", buckets=buckets)
