"""What a pipeline's budget of series would fold of recorded label sets: they are put through that very budget. Pure.

They come as they first came, in a few steps, for who is there first stays; those of one step come at once, the heaviest
first. They are taken to grow evenly from when they first came to when they last did, and go for being idle after that,
by the record's own clock. The invariant: what is told as folded is what the budget counted under another label set at
any time, each label set once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import polars as pl

from ..aggregate.series import SeriesBudget
from ..aggregate.totals import Totals
from ..attribution.arrays import Rows
from .label_sets import FIRST, LAST, WEIGHT

STEPS: Final = 96
"""The time that is told of, in so many steps."""
_ID: Final = "id"


class _Comer:
    """Label sets of one family on their way into totals, each under the number of its row."""

    def __init__(self, sets: pl.DataFrame, labels: tuple[str, ...], width: int, step: Callable[[str], pl.Expr]) -> None:
        """`step` gives the step of a time in nanoseconds, by the name of its column."""
        self._labels = sets.select(labels)
        self._first, self._last = (sets.select(step(name)).to_series().to_numpy() for name in (FIRST, LAST))
        steps = (self._last - self._first + 1).astype(np.uint64)
        self._weights = (sets[WEIGHT].to_numpy() + steps - np.uint64(1)) // steps
        self._measures = (WEIGHT, *(f"measure {number}" for number in range(1, width)))
        self._is_folded = np.zeros(sets.height, np.bool_)
        self._known = 0
        """How many the totals had folded when that was last noted."""
        self.totals = Totals((_ID,), labels, self._measures)

    def come(self, step: int) -> None:
        """Let those of one step come."""
        rows = self._those_of(step)
        measures = dict.fromkeys(self._measures, np.zeros(len(rows), np.uint64)) | {WEIGHT: self._weights[rows]}
        self.totals.count({_ID: pl.Series(rows, dtype=pl.UInt32)}, measures, self._named)

    def note(self, step: int) -> None:
        """Note which of these have no place of their own."""
        if self.totals.folded == self._known:
            return
        self._known, rows = self.totals.folded, self._those_of(step)
        came = self._labels[rows].with_columns(pl.Series(_ID, rows))
        self._is_folded[came.join(self.totals.labels, on=self._labels.columns, how="anti")[_ID].to_numpy()] = True

    def folded(self) -> pl.DataFrame:
        """Those that were counted under others."""
        return self._labels.filter(pl.Series(self._is_folded))

    def _those_of(self, step: int) -> Rows:
        return np.flatnonzero((self._first <= step) & (step <= self._last))

    def _named(self, ids: pl.DataFrame) -> pl.DataFrame:
        return self._labels[ids[_ID].to_numpy()]


def folded(
    sets: Mapping[str, pl.DataFrame], forms: Mapping[str, tuple[tuple[str, ...], int]], budget: SeriesBudget
) -> dict[str, pl.DataFrame]:
    """By family, the label sets that `budget`, which has seen nothing yet, counts under others; by family of `forms`,
    labels and width."""
    present = {name: sets[name] for name in forms if sets[name].height}
    if not present:
        return {}
    begin = min(int(frame[FIRST].min()) for frame in present.values())  # type: ignore[arg-type]
    end = max(int(frame[LAST].max()) for frame in present.values())  # type: ignore[arg-type]
    length = (end - begin) // STEPS + 1
    comers = {
        name: _Comer(frame, *forms[name], lambda time: (pl.col(time) - begin) // length)
        for name, frame in present.items()
    }
    for number in range(STEPS):
        for comer in comers.values():
            comer.come(number)
        budget.enforce({name: comer.totals for name, comer in comers.items()}, begin + (number + 1) * length)
        for comer in comers.values():
            comer.note(number)
    return {name: comer.folded() for name, comer in comers.items()}
