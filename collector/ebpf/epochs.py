"""Which of a tuple's sightings are of which connection, where a tuple is used for one after the other. Pure.

A connection begins with a SYN whose sequence number is not that of before, where it is seen first; what is seen of its
tuple from then on is its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .layout import SYN
from .live import NEVER, Flags, Live, Rows
from .sightings import Part


def groups(keys: npt.NDArray[Any]) -> tuple[Rows, Rows]:
    """Of sorted keys: where each distinct one begins, and the number of the group that each row is in."""
    is_first = np.ones(len(keys), np.bool_)
    is_first[1:] = keys[1:] != keys[:-1]
    return np.flatnonzero(is_first), np.cumsum(is_first) - 1


def epochs(seen: Part, begin: Rows, group: Rows, slots: Rows, live: Live) -> npt.NDArray[np.int64] | None:
    """For sightings in order of key: 0 of the connection from before, 1 of the next with the same tuple, ...

    `begin` and `group` are `groups` of their keys; `slots`, one a group, says where the connection from before is in
    `live`, -1 where there is none. None where each group is one connection.
    """
    starts = np.flatnonzero(seen.begins())
    if not len(starts):
        return None
    slot, isn = slots[group[starts]], seen.isn(starts)
    if (slot >= 0).any():
        known = live.get(np.maximum(slot, 0), ("isn", "sent"))
        is_repeated = (slot >= 0) & (known["isn"] == isn) & ((known["sent"] & SYN) != 0)
        starts, isn = starts[~is_repeated], isn[~is_repeated]
        if not len(starts):
            return None
    of = group[starts]
    since = np.full(len(begin), NEVER, np.int64)
    first, _ = groups(of)
    since[of[first]] = np.minimum.reduceat(seen.first[starts], first)
    is_after = seen.first >= since[group]
    is_one_each = not ((of[1:] == of[:-1]) & (isn[1:] != isn[:-1])).any()
    if is_one_each and (slots[of] < 0).all() and (is_after | (since[group] == NEVER)).all():
        return None
    return _numbered(seen, starts, isn, group, is_after)


def _numbered(
    seen: Part, starts: Rows, isn: npt.NDArray[np.uint32], group: Rows, is_after: Flags
) -> npt.NDArray[np.int64]:
    """The epoch of each sighting, where some tuples begin several connections."""
    isns = group[starts].astype(np.uint64) << np.uint64(32) | isn
    number, which = np.unique(isns, return_inverse=True)
    begun = np.full(len(number), NEVER, np.int64)
    np.minimum.at(begun, which, seen.first[starts])
    of = (number >> np.uint64(32)).astype(np.int64)
    epoch = is_after.astype(np.int64)
    for several in np.flatnonzero(np.bincount(of) > 1):
        rows = slice(*np.searchsorted(group, (several, several + 1)))
        epoch[rows] = np.searchsorted(np.sort(begun[of == several]), seen.first[rows], side="right")
    return epoch
