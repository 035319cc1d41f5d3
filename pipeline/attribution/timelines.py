"""Which of its spans a key was in at an instant: as-of look-ups that cost a gather where a key has one span only.

It knows keys and spans and nothing of the cluster. The invariant: before the first span of a key, after the last and
between two there is no answer, and never the nearest one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..inventory.spans import BEGINNING, END

_Column = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Timeline:
    """Facts by key and time. Find the key's `newest` row by a join on `keys`, then the row of the instant by `at`."""

    keys: pl.DataFrame
    """The key's columns, each key once, and `newest` (UInt32): the row in `facts` of its last span."""
    facts: pl.DataFrame
    """One row a span, those of one key together and in order of time."""
    is_timeless: bool
    """Whether every fact held always, as in a dump."""

    def at(self, newest: str, instant: str) -> pl.Expr:
        """The row in `facts` (UInt32) at the instant (Int64, ns) in a column; null where `newest` is or none held."""
        if self.is_timeless:
            return pl.col(newest)
        return pl.struct(newest, instant).map_batches(self._rows_at, return_dtype=pl.UInt32, is_elementwise=True)

    def _rows_at(self, pairs: pl.Series) -> pl.Series:
        newest, instants = (column.rechunk() for column in pairs.struct.unnest().get_columns())
        if self.facts.is_empty():
            return newest
        is_known = newest.is_not_null().to_numpy()
        rows = newest.fill_null(0).to_numpy().copy()
        when = instants.to_numpy()
        since, until = self.facts["since"].to_numpy(), self.facts["until"].to_numpy()
        early = np.flatnonzero(is_known & (when < since[rows]))
        rows[early] = self._earlier(rows[early], when[early], since)
        holds = is_known & (since[rows] <= when) & (when < until[rows])
        return pl.select(pl.when(pl.Series(holds)).then(pl.Series(rows)))[""].rename(newest.name)

    def _earlier(self, newest: _Column, when: _Column, since: _Column) -> _Column:
        """Of each key the last row that began by then, or its first; binary search over all keys at once."""
        low, high = self._first[newest].copy(), newest.copy()
        for _ in range(int((newest - low).max(initial=0)).bit_length()):
            middle = low + (high - low + 1) // 2
            has_begun = since[middle] <= when
            low = np.where(has_begun, middle, low)
            high = np.where(has_begun | (middle == low), high, middle - 1)
        return low

    @cached_property
    def _first(self) -> _Column:
        """By row, the first row of the same key."""
        newest = self.keys["newest"].to_numpy().astype(np.int64)
        counts = np.diff(newest, prepend=-1)
        return np.repeat((newest - counts + 1).astype(np.uint32), counts)


def timeline_of(facts: pl.DataFrame, *key: str) -> Timeline:
    """The timeline of rows with the columns `key`, `since` and `until`; the spans of one key are disjoint."""
    is_timeless = facts.select(((pl.col("since") == BEGINNING) & (pl.col("until") == END)).all()).item()
    if is_timeless:
        keys = facts.select(*key).with_row_index("newest").select(*key, "newest")
        return Timeline(keys, facts, is_timeless=True)
    ordered = facts.sort(*key, "since")
    is_last = pl.any_horizontal(pl.col(name) != pl.col(name).shift(-1) for name in key).fill_null(value=True)
    keys = ordered.with_row_index("newest").filter(is_last).select(*key, "newest")
    return Timeline(keys, ordered, is_timeless=False)
