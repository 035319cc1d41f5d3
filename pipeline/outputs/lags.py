"""How long it takes until something can be seen, as a histogram without labels.

The clock is a parameter. The invariant: what waits is counted once, at the first `end` after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl

from ..aggregate.samples import SUM, Samples
from ..catalog import BY_NAME


class Lags:
    """Counts the seconds from instants until `end` in the buckets of a metric."""

    def __init__(self, metric: str) -> None:
        self._metric = BY_NAME[metric]
        self._counts = [0] * len(self._metric.le)
        self._sum_ns = 0
        self._waiting: list[int] = []

    def wait(self, since_ns: Iterable[int]) -> None:
        """Something of each of these instants is under way."""
        self._waiting.extend(since_ns)

    def end(self, now_ns: int) -> None:
        """All that is under way has arrived. An instant that is ahead of the clock counts as now."""
        lags_ns = np.maximum(now_ns - np.array(self._waiting, np.int64), 0)
        buckets = np.searchsorted(np.array(self._metric.buckets), lags_ns / 1e9, side="left")
        for bucket, count in zip(*np.unique(buckets, return_counts=True), strict=True):
            self._counts[bucket] += int(count)
        self._sum_ns += sum(lags_ns.tolist())  # more than an int64 holds where clocks are wrong
        self._waiting = []

    def state(self) -> dict[str, Any]:
        """What is counted, as plain values."""
        return {"le": list(self._metric.le), "counts": list(self._counts), "sum_ns": self._sum_ns}

    def restore(self, values: Mapping[str, Any]) -> None:
        """Take up what is counted; nothing where the buckets were others."""
        if values.get("le") == list(self._metric.le):
            self._counts, self._sum_ns = list(values["counts"]), values["sum_ns"]

    def samples(self) -> Samples:
        """The metric now."""
        under, fields = 0, {}
        for bound, count in zip(self._metric.le, self._counts, strict=True):
            under += count
            fields[bound] = pl.Series(bound, [under], dtype=pl.UInt64)
        fields[SUM] = pl.Series(SUM, [self._sum_ns / 1e9], dtype=pl.Float64)
        return Samples(self._metric, pl.DataFrame(), pl.DataFrame(list(fields.values())).to_struct("value"))
