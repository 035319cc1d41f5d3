"""What workloads exchange, summed from one step to the next until somebody asks.

Several metrics are made of these sums, and nobody sees more of them before the next publication: until then a step
costs one look-up a row. The invariant: what was added is in what is `taken` once, in this one or in the next.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..attribution import arrays
from ..attribution.keyindex import GrowingIndex
from .idwords import Columns, IdWords
from .rollups import CONVERSATION_MEASURES, Measure

IDS: Final = ("src_id", "dst_id", "service_id", "via", "protocol")
"""The two ends by what stands for their workloads."""
MOST: Final = 200_000
"""So many combinations are remembered, some 120 bytes each; when there are more, all are numbered anew."""

_MOST_SUM: Final = 2**64 - 1
_HALF: Final = 2.0**63
"""What wrapped is less than it should be by a multiple of twice this."""


class Tallies:
    """CONVERSATION_MEASURES by IDS."""

    def __init__(self) -> None:
        self.forget()

    def __len__(self) -> int:
        return len(self._index)

    def forget(self) -> None:
        """Ids mean something else from now on, and what was not taken is lost."""
        self._words = IdWords(IDS)
        self._index = GrowingIndex()
        self._ids: list[pl.DataFrame] = []
        self._sums: dict[str, Measure] = {name: np.zeros(0, np.uint64) for name in CONVERSATION_MEASURES}
        """By combination, with room for more: what came since the last `taken`."""
        self._is_touched = np.zeros(0, np.bool_)
        """By combination, whether anything did: sums may be 0."""
        self._bounds = dict.fromkeys(CONVERSATION_MEASURES, 0)
        """No sum is above this, so that none has wrapped as long as it is in 64 bits."""

    def add(self, rows: Columns, measures: dict[str, Measure]) -> None:
        """Add to each measure what it has in rows of IDS, of which any may be the same."""
        numbers = self._index.numbers(self._words.of(rows)).astype(np.int64)  # adding by narrower ones takes longer
        self._grow(rows, numbers)
        self._is_touched[numbers] = True
        for name, values in measures.items():
            if values.any():  # few connections fail
                self._add(name, numbers, values)

    def taken(self) -> pl.DataFrame:
        """IDS of what was added to since this was last asked, and its sums since then."""
        touched = np.flatnonzero(self._is_touched)
        if not touched.size:
            return pl.DataFrame()
        self._ids = [pl.concat(self._ids, rechunk=True)]
        sums = [pl.Series(name, values.take(touched)) for name, values in self._sums.items()]
        for values in self._sums.values():
            values[touched] = 0
        self._is_touched[touched] = False
        self._bounds = dict.fromkeys(self._bounds, 0)
        return arrays.taken(self._ids[0], touched, *IDS).hstack(sums)

    def _grow(self, rows: Columns, numbers: NDArray[np.int64]) -> None:
        """Remember what new numbers stand for, and make room for them."""
        known, room = sum(ids.height for ids in self._ids), len(self._is_touched)
        if len(self._index) == known:
            return
        new = np.flatnonzero(numbers >= known)
        row = np.empty(len(self._index) - known, np.int64)
        row[numbers.take(new) - known] = new
        self._ids.append(arrays.taken(rows, row, *IDS))
        if len(self._index) > room:
            more = 2 * len(self._index) - room
            self._sums = {name: np.append(sums, np.zeros(more, np.uint64)) for name, sums in self._sums.items()}
            self._is_touched = np.append(self._is_touched, np.zeros(more, np.bool_))

    def _add(self, name: str, numbers: NDArray[np.int64], values: Measure) -> None:
        sums = self._sums[name]
        self._bounds[name] += int(values.max()) * values.size
        if self._bounds[name] <= _MOST_SUM:
            np.add.at(sums, numbers, values)
        else:  # nonsense on the wire, which stays at the end of what can be told
            roughly = np.bincount(numbers, values, sums.size) + sums
            np.add.at(sums, numbers, values)
            sums[roughly - sums > _HALF] = _MOST_SUM
