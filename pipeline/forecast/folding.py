"""What a pipeline's budget of series would fold of recorded label sets: they are put through that very budget. Pure.

They come as they first came, in a few steps, for who is there first stays; those of one step come at once, the heaviest
first. None goes for being idle. The invariant: what is told as folded is what the budget counted under another label
set, each label set once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl

from ..aggregate.series import SeriesBudget
from ..aggregate.totals import Totals
from .label_sets import FIRST, WEIGHT

STEPS: Final = 24
"""The time that is told of, in so many steps."""
_ID: Final = "id"


class _Comer:
    """Label sets of one family on their way into totals, each under the number of its row."""

    def __init__(self, sets: pl.DataFrame, labels: tuple[str, ...], width: int, step: pl.Expr) -> None:
        self._labels = sets.select(labels)
        self._weights = sets[WEIGHT].to_numpy()
        self._steps = sets.select(step).to_series().to_numpy()
        self._measures = (WEIGHT, *(f"measure {number}" for number in range(1, width)))
        self.totals = Totals((_ID,), labels, self._measures)

    def come(self, step: int) -> None:
        """Let those of one step come."""
        rows = np.flatnonzero(self._steps == step)
        measures = dict.fromkeys(self._measures, np.zeros(len(rows), np.uint64)) | {WEIGHT: self._weights[rows]}
        self.totals.count({_ID: pl.Series(rows, dtype=pl.UInt32)}, measures, self._named)

    def folded(self) -> pl.DataFrame:
        """Those that have no place of their own."""
        return self._labels.join(self.totals.labels, on=self._labels.columns, how="anti")

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
    end = max(int(frame[FIRST].max()) for frame in present.values())  # type: ignore[arg-type]
    step = (pl.col(FIRST) - begin) * STEPS // (end - begin + 1)
    comers = {name: _Comer(frame, *forms[name], step) for name, frame in present.items()}
    for number in range(STEPS):
        for comer in comers.values():
            comer.come(number)
        budget.enforce({name: comer.totals for name, comer in comers.items()}, number)
    return {name: comer.folded() for name, comer in comers.items()}
