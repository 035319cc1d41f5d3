"""Cumulative totals of one metric family: exact integers by label set, which only grow.

Deltas come by ids (rows of a snapshot's frames), since ids are cheap to group and join; totals are kept by label text,
since ids mean something else in the next snapshot. The invariant: a label set keeps its row, and its totals never fall.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

Name = Callable[[pl.DataFrame], pl.DataFrame]
"""Turns rows of ids into rows of label text, in the same order."""

_SERIES: Final = "series"
_MOST: Final = np.uint64(2**64 - 1)
"""Where a total stays that nonsense on the wire would drive beyond 64 bits."""


class Totals:
    """Totals of `measures` by `labels`. Row i of `labels` belongs to element i of each measure.

    `labels` is replaced when series are added and otherwise stays the same object, which readers may take as a sign.
    """

    def __init__(self, ids: tuple[str, ...], labels: tuple[str, ...], measures: tuple[str, ...]) -> None:
        self.labels = pl.DataFrame(schema=dict.fromkeys(labels, pl.String))
        self._ids = list(ids)
        self._values: dict[str, NDArray[np.uint64]] = {name: np.zeros(0, np.uint64) for name in measures}
        self._known: pl.DataFrame | None = None

    def __len__(self) -> int:
        return self.labels.height

    def forget_ids(self) -> None:
        """Ids mean something else from now on: the snapshot has changed."""
        self._known = None

    def add(self, deltas: pl.DataFrame, name: Name) -> None:
        """Add rows of ids and measures (UInt64); ids that were not met since `forget_ids` are named by `name`."""
        if deltas.is_empty():
            return
        series = self._series_of(deltas, name).to_numpy()
        # Arrays are replaced, never changed in place: what `measure` gave out stays what it was.
        for measure, before in self._values.items():
            added = np.zeros(len(before), np.uint64)
            np.add.at(added, series, deltas[measure].to_numpy())
            total = before + added
            self._values[measure] = np.where(total < before, _MOST, total)

    def measure(self, name: str) -> pl.Series:
        """The totals of one measure as they are now; later additions do not change them."""
        return pl.Series(name, self._values[name], dtype=pl.UInt64)

    def _series_of(self, deltas: pl.DataFrame, name: Name) -> pl.Series:
        if self._known is None:
            self._known = deltas.select(self._ids).clear().with_columns(pl.lit(None, pl.UInt32).alias(_SERIES))
        series = self._look_up(deltas, self._known)
        if series.null_count():
            unknown = deltas.filter(series.is_null()).select(self._ids).unique()
            learnt = unknown.with_columns(self._register(name(unknown)))
            self._known = pl.concat([self._known, learnt])
            series = self._look_up(deltas, self._known)
        return series

    def _look_up(self, deltas: pl.DataFrame, known: pl.DataFrame) -> pl.Series:
        joined = deltas.select(self._ids).join(known, on=self._ids, how="left", nulls_equal=True, maintain_order="left")
        return joined[_SERIES]

    def _register(self, labelled: pl.DataFrame) -> pl.Series:
        """The series of rows of label text; those of new label sets are appended, in the order of their text."""
        names = self.labels.columns
        distinct = labelled.select(names).unique()
        new = distinct.join(self.labels, on=names, how="anti").sort(names)
        if new.height:
            self.labels = pl.concat([self.labels, new], rechunk=True)
            grown = np.zeros(new.height, np.uint64)
            self._values = {measure: np.concatenate([values, grown]) for measure, values in self._values.items()}
        index = self.labels.with_row_index(_SERIES)
        return labelled.join(index, on=names, how="left", maintain_order="left")[_SERIES]
