"""Which of its spans a key was in at an instant: as-of look-ups that cost a gather where a key has one span only.

It knows keys by number, and spans, and nothing of the cluster. The invariant: before the first span of a key, after the
last and between two there is no answer, and never the nearest one.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..inventory.spans import BEGINNING, END

_Column = NDArray[Any]


class Timeline:
    """Facts by key and time: rows with the columns `since` and `until`, and by row the number of the key.

    The spans of one key are disjoint. `keys` is how many keys there are; some may have no fact.
    """

    def __init__(self, facts: pl.DataFrame, numbers: NDArray[np.int32], keys: int) -> None:
        since = facts["since"].to_numpy()
        counts = np.bincount(numbers, minlength=keys)
        if counts.max(initial=0) > 1:
            order = np.lexsort((since, numbers))
            facts, numbers = facts[order], numbers[order]
        self.facts = facts
        """One row a span; where a key has several, those of one key together and in order of time."""
        self._newest = np.full(keys + 1, -1, np.int32)  # the last stands for no key
        self._newest[numbers] = np.arange(facts.height, dtype=np.int32)  # of several writes the last one stays
        self._counts = counts
        self._is_timeless = bool((since == BEGINNING).all() and (facts["until"] == END).all())

    @cached_property
    def is_known(self) -> pl.Series:
        """By the number of a key, whether any fact is about it, at any time."""
        return pl.Series(self._newest[:-1] >= 0)

    def rows_at(self, numbers: _Column, instants: _Column) -> _Column:
        """The row in `facts` of each key, by its number, at the instant (Int64, ns): -1 where that is -1, or where no
        span of the key holds the instant."""
        rows = self._newest.take(numbers)
        if self._is_timeless or self.facts.is_empty():
            return rows
        open_ = np.flatnonzero(instants < self._lasts_from.take(numbers))
        if open_.size:
            rows[open_] = self._rows_then(rows.take(open_), instants.take(open_))
        return rows

    def _rows_then(self, newest: _Column, when: _Column) -> _Column:
        """Of keys whose newest span need not be the one."""
        rows = np.where(newest >= 0, self._earlier(newest, when), -1)
        return np.where(when < self._until.take(rows), rows, -1)

    def _earlier(self, newest: _Column, when: _Column) -> _Column:
        """Of each key the last row that began by then, -1 where none did; binary search over all keys at once."""
        low, high = self._first[newest], newest
        for _ in range(int((newest - low).max(initial=0)).bit_length()):
            middle = low + (high - low + 1) // 2
            has_begun = self._since[middle] <= when
            low = np.where(has_begun, middle, low)
            high = np.where(has_begun | (middle == low), high, middle - 1)
        return np.where(self._since[low] <= when, low, -1)

    @cached_property
    def _lasts_from(self) -> _Column:
        """By the number of a key, the instant from which on its newest span holds for good; END where that has ended,
        and BEGINNING where the key has no span: one comparison a row tells that most need no other."""
        lasts_from = np.where(self._until == END, self._since, END)
        return np.append(lasts_from, BEGINNING).take(self._newest)

    @cached_property
    def _since(self) -> _Column:
        return self.facts["since"].to_numpy()

    @cached_property
    def _until(self) -> _Column:
        return self.facts["until"].to_numpy()

    @cached_property
    def _first(self) -> _Column:
        """By row that is a key's newest, the first row of the same key."""
        first = np.arange(self.facts.height, dtype=np.int32)
        has_any = self._counts > 0
        newest = self._newest[:-1][has_any]
        first[newest] = newest - self._counts[has_any] + 1
        return first
