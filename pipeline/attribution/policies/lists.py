"""Many lists in one array: what numbers belong to each owner, expanded for many owners at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.uint32]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Lists:
    """The items of owner N are `items[offsets[N]:offsets[N + 1]]`."""

    offsets: Positions
    items: Ids

    def lengths(self, owners: Ids) -> Positions:
        """How many items each of the owners has."""
        lengths: Positions = self.offsets[owners.astype(np.int64) + 1] - self.offsets[owners]
        return lengths

    def expand(self, owners: Ids) -> tuple[Positions, Ids]:
        """One row an item of each owner, in order: the position in `owners`, and the item."""
        lengths = self.lengths(owners)
        positions = np.repeat(np.arange(owners.size), lengths)
        starts = self.offsets[owners] - (np.cumsum(lengths) - lengths)
        return positions, self.items[starts[positions] + np.arange(positions.size)]


def lists_of(owners: Ids, items: Ids, size: int) -> Lists:
    """Lists of `size` owners; an owner's items keep their order."""
    order = np.argsort(owners, kind="stable")
    offsets = np.zeros(size + 1, dtype=np.int64)
    np.cumsum(np.bincount(owners, minlength=size), out=offsets[1:])
    return Lists(offsets, items[order])
