"""How often a measured value falls under each bound, by labels: what a metric of kind `histogram` exposes.

    Metric("flowatlas_x_seconds", "histogram", "seconds", LABELS, "...", buckets=(0.001, 0.01, 0.1))  # the catalogue
    latency = Histogram("flowatlas_x_seconds", ids=("src_id",), value="latency_ns", per_unit=10**9)
    latency.add(frame, name)   # one row an observation: the ids and the value; `name` as for `Totals`
    latency.samples()          # beside the other families' samples; `outputs.exposition` renders them

Which rows are observations is the caller's affair: filter those out that measured nothing. The invariant: counts and
sums are exact integers of the wire's unit, and an observation is in every bucket whose bound it does not exceed.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..attribution import arrays
from ..catalog import BY_NAME
from ..kept import Frames
from .idwords import grouped
from .samples import SUM, Samples
from .totals import Name, Totals


class Observed:
    """Observations by a number that tells apart what they are of, until a histogram takes them."""

    def __init__(self, bounds: NDArray[np.uint64]) -> None:
        self._bounds = bounds
        self._width = bounds.size + 1
        self._counts = np.zeros(0, np.int64)
        """By number and bucket."""
        self._sums = np.zeros(0, np.uint64)

    def add(self, numbers: NDArray[np.int64], values: NDArray[np.unsignedinteger], size: int) -> None:
        """Add a value of each of the numbers, all of which are below `size`."""
        if size > self._sums.size:
            room = 2 * size - self._sums.size
            self._sums = np.append(self._sums, np.zeros(room, np.uint64))
            self._counts = np.append(self._counts, np.zeros(room * self._width, np.int64))
        highest = np.iinfo(values.dtype).max
        buckets = np.zeros(values.size, np.uint8)
        for bound in self._bounds.tolist():
            if bound < highest:
                buckets += values > values.dtype.type(bound)  # a search costs several times as much, for so few bounds
        np.add.at(self._counts, numbers * self._width + buckets, 1)
        np.add.at(self._sums, numbers, values.astype(np.uint64, copy=False))

    def taken(self) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.uint64]]:
        """The numbers that were observed since this was last asked, and of each how many values are at or under each
        bound, the last of which is infinite, and what they come to."""
        counts = self._counts.reshape(-1, self._width)
        touched = np.flatnonzero(counts.any(axis=1))
        under, sums = np.cumsum(counts[touched], axis=1, dtype=np.uint64), self._sums[touched]
        counts[touched], self._sums[touched] = 0, 0
        return touched, under, sums


class Histogram:
    """The histogram `metric` of the column `value`, whose numbers are whole and `per_unit` to the metric's unit.

    `ids` are the columns that tell series apart, as in `Totals`: `name` turns them into the metric's labels.
    """

    def __init__(self, metric: str, ids: tuple[str, ...], value: str, per_unit: int) -> None:
        self._metric = BY_NAME[metric]
        self._ids = list(ids)
        self._value = value
        self._per_unit = per_unit
        self._bounds = np.array([round(bound * per_unit) for bound in self._metric.buckets], np.uint64)
        self._totals = Totals(ids, self._metric.labels, (*self._metric.le, SUM))

    def __len__(self) -> int:
        return len(self._totals)

    @property
    def totals(self) -> Totals:
        """What is under each bound, and the sum, by label set."""
        return self._totals

    def forget_ids(self) -> None:
        """Ids mean something else from now on: the snapshot has changed."""
        self._totals.forget_ids()

    def add(self, observations: pl.DataFrame, name: Name) -> None:
        """Add one observation a row: the ids and the value (any unsigned integer); other columns are passed over."""
        if observations.height:
            groups, observed = grouped(observations, self._ids), self.observed()
            observed.add(groups.numbers, observations[self._value].to_numpy(), groups.ids.height)
            self.take(observed, groups.ids, name)

    def observed(self) -> Observed:
        """Where observations may be put first, for `take`."""
        return Observed(self._bounds)

    def take(self, observed: Observed, ids: pl.DataFrame, name: Name) -> None:
        """Add what was observed, whose numbers are rows of `ids`; nothing is in `observed` afterwards."""
        touched, under, sums = observed.taken()
        if touched.size:
            measures = {bound: under[:, place] for place, bound in enumerate(self._metric.le)}
            slots = self._totals.slots(arrays.taken(ids, touched, *self._ids), name)
            self._totals.add_at(slots, measures | {SUM: sums})

    def state(self) -> Frames:
        """The series, by bound."""
        return self._totals.state()

    def restore(self, frames: Frames) -> int:
        """Take up series; none where the bounds were others, for nobody knows how many are under one of today."""
        if set(frames["values"].columns) != {*self._metric.le, SUM}:
            return frames["labels"].height
        return self._totals.restore(frames)

    def samples(self) -> Samples:
        """The metric's series now."""
        counts = [self._totals.measure(bound) for bound in self._metric.le]
        total = (self._totals.measure(SUM) / self._per_unit).alias(SUM)
        return Samples(self._metric, self._totals.labels, pl.DataFrame([*counts, total]).to_struct("value"))
