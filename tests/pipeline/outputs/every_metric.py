"""Samples of the whole catalogue."""

from __future__ import annotations

import polars as pl

from pipeline.aggregate.samples import Samples
from pipeline.catalog import METRICS


def one_of_each() -> list[Samples]:
    """A series of every metric of the catalogue, labelled with its own labels' names."""
    series = []
    for metric in METRICS:
        labels = pl.DataFrame({label: [label] for label in metric.labels})
        values = pl.Series("value", [1], dtype=pl.UInt64)
        if metric.le:
            values = pl.DataFrame({**{bound: [1] for bound in metric.le}, "sum": [0.5]}).to_struct("value")
        series.append(Samples(metric, labels, values))
    return series
