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
from .idwords import Groups, grouped
from .samples import SUM, Samples
from .totals import Name, Totals


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
            self.add_groups(grouped(observations, self._ids), observations[self._value].to_numpy(), name)

    def add_groups(self, groups: Groups, values: NDArray[np.unsignedinteger], name: Name) -> None:
        """Add one observation a row of `groups`, whose values these are."""
        values = values.astype(np.uint64, copy=False)
        width = len(self._metric.le)
        buckets = np.zeros(len(values), np.uint8)
        for bound in self._bounds:
            buckets += values > bound  # a search costs several times as much, for so few bounds
        cells = groups.numbers * width + buckets
        counts = np.bincount(cells, minlength=groups.ids.height * width).reshape(-1, width)
        sums = np.zeros(len(counts), np.uint64)
        np.add.at(sums, groups.numbers, values)
        touched = np.flatnonzero(counts.any(axis=1))
        under = np.cumsum(counts[touched], axis=1, dtype=np.uint64)
        measures = {bound: under[:, place] for place, bound in enumerate(self._metric.le)}
        slots = self._totals.slots(arrays.taken(groups.ids, touched, *self._ids), name)
        self._totals.add_at(slots, measures | {SUM: sums[touched]})

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
