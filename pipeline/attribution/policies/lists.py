"""Many lists in one array: what numbers belong to each owner, expanded for many owners at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from ..keyindex import distinct

Ids = npt.NDArray[np.uint32]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Lists:
    """The items of owner N are `items[offsets[N]:offsets[N + 1]]`."""

    offsets: Positions
    items: Ids

    def lengths(self, owners: npt.NDArray[np.integer]) -> Positions:
        """How many items each of the owners has."""
        owners = owners.astype(np.int64, copy=False)
        lengths: Positions = self.offsets.take(owners + 1) - self.offsets.take(owners)
        return lengths

    def expand(self, owners: npt.NDArray[np.integer]) -> tuple[Positions, Ids]:
        """One row an item of each owner, in order: the position in `owners`, and the item."""
        lengths = self.lengths(owners)
        positions = np.repeat(np.arange(owners.size), lengths)
        starts = self.offsets[owners] - (np.cumsum(lengths) - lengths)
        return positions, self.items[starts[positions] + np.arange(positions.size)]

    def at(self, owners: npt.NDArray[np.integer]) -> Lists:
        """The lists of some of the owners."""
        return Lists(np.concatenate([[0], np.cumsum(self.lengths(owners))]), self.expand(owners)[1])

    def to_series(self) -> pl.Series:
        """By owner: a list of UInt32."""
        lists = pa.LargeListArray.from_arrays(self.offsets, pa.array(self.items, pa.uint32()))
        return pl.Series(lists, dtype=pl.List(pl.UInt32))


def lists_of(owners: Ids, items: Ids, size: int) -> Lists:
    """Lists of `size` owners; an owner's items keep their order."""
    order = np.argsort(owners, kind="stable")
    offsets = np.zeros(size + 1, dtype=np.int64)
    np.cumsum(np.bincount(owners, minlength=size), out=offsets[1:])
    return Lists(offsets, items[order])


def distinct_lists(kinds: npt.NDArray[np.uint8], lists: Lists) -> tuple[Positions, Positions]:
    """By owner the number of its kind and list, in the order of first appearance, and by number the first owner."""
    starts, lengths = lists.offsets[:-1], np.diff(lists.offsets)
    known = (lengths.astype(np.uint64) << np.uint64(8)) | kinds
    place = 0
    while (longer := np.flatnonzero(lengths > place)).size:
        parts, _ = distinct([known[longer], lists.items[starts[longer] + place]])
        known[longer] = parts.astype(np.uint64) + known.max(initial=0) + np.uint64(1)  # as nothing shorter is numbered
        place += 1
    return distinct([known])
