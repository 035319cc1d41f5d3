"""The values of one metric at one instant, as columns: what aggregation hands to the outputs.

It says nothing of how values come about. The invariant: `labels` holds exactly the metric's label columns, in the
catalogue's order and without a repeated row, and row i of `values` belongs to row i of `labels`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from ..catalog import Metric

SUM: Final = "sum"
"""The field of a histogram's values that holds what its observations come to."""


@dataclass(frozen=True, slots=True)
class Samples:
    """One metric's series. `labels` is never changed in place, so the same object means the same series."""

    metric: Metric
    labels: pl.DataFrame
    values: pl.Series
    """UInt64 for what is counted, Float64 for times and shares. Of a histogram: a struct of how many observations are
    at or under each bound (UInt64, named as `Metric.le`), and what all come to (`sum`, Float64, in the metric's unit).
    """

    def __post_init__(self) -> None:
        if tuple(self.labels.columns) != self.metric.labels:
            raise ValueError(f"{self.metric.name}: labels {self.labels.columns} are not {list(self.metric.labels)}")
        if self.metric.labels and self.labels.height != len(self.values):
            raise ValueError(f"{self.metric.name}: {self.labels.height} label rows, {len(self.values)} values")
        if self.metric.le and self.values.struct.fields != [*self.metric.le, SUM]:
            raise ValueError(f"{self.metric.name}: values {self.values.dtype} are not of buckets {self.metric.le}")

    @property
    def series(self) -> int:
        """How many time series these are to Prometheus: a histogram's have one a bucket, a sum and a count."""
        return len(self.values) * (len(self.metric.le) + 2 if self.metric.le else 1)


def samples_of(metric: Metric, values: Mapping[tuple[str, ...], int | float]) -> Samples:
    """Samples of a metric with few series, from label values to value, in the order of the label values.

    Text that is no valid Unicode (a lone surrogate) is shown with `?` in its place.
    """
    rows = sorted((tuple(_legible(text) for text in labels), value) for labels, value in values.items())
    dtype = pl.Float64 if metric.unit in {"seconds", "ratio"} else pl.UInt64
    columns: Sequence[Sequence[str]] = list(zip(*(labels for labels, _ in rows), strict=True)) or [()] * len(
        metric.labels
    )
    return Samples(
        metric,
        pl.DataFrame(
            {name: pl.Series(column, dtype=pl.String) for name, column in zip(metric.labels, columns, strict=True)}
        ),
        pl.Series("value", [value for _, value in rows], dtype=dtype),
    )


def _legible(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
