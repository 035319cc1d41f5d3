"""Which of a tuple's sightings are of which connection, where a tuple is used for one after the other. Pure.

A connection begins with a SYN whose sequence number is not that of before, where it is seen first; what is seen of its
tuple from then on is its own. One of a protocol without SYNs begins where its packets are translated otherwise than
before: what a client goes on sending to a Service goes to another backend once the one from before has gone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .layout import SYN
from .lifetimes import TCP
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
    begun = _begun(seen, begin, group, slots, live)
    moved = _moved(seen, begin, group, slots, live)
    if begun is None or moved is None:
        return begun if moved is None else moved.astype(np.int64)
    return begun + moved  # of no tuple both: its protocol has SYNs or has none


def _moved(seen: Part, begin: Rows, group: Rows, slots: Rows, live: Live) -> Flags | None:
    """Which sightings are of another connection than before since they are translated otherwise; None where none is.

    It is told where the connection from before is counted.
    """
    is_told = seen.is_known & (seen.flows["protocol"] != TCP) & (slots[group] >= 0)
    rows = np.flatnonzero(is_told & seen.opens)
    if not len(rows):
        return None
    before = live.get(slots[group[rows]], ("observer",))
    moved = rows[(before["observer"] == seen.observer[rows]) & _differs(seen, rows, slots[group[rows]], live)]
    if not len(moved):
        return None
    since = np.full(len(begin), NEVER, np.int64)
    np.minimum.at(since, group[moved], seen.first[moved])
    is_after = seen.first >= since[group]
    rows = np.flatnonzero(is_told & (since[group] < NEVER))
    is_after[rows] = _differs(seen, rows, slots[group[rows]], live)
    return is_after


def _differs(seen: Part, rows: Rows, slots: Rows, live: Live) -> Flags:
    """Whether these sightings have been translated otherwise than what is known of the connections in these slots."""
    now = seen.translated(rows)
    before = live.get(slots, ("is_known", *now))
    is_other = np.zeros(len(rows), np.bool_)
    for name, column in now.items():
        is_other |= column != before[name]
    found: Flags = is_other & before["is_known"]
    return found


def _begun(seen: Part, begin: Rows, group: Rows, slots: Rows, live: Live) -> npt.NDArray[np.int64] | None:
    """The same, by SYNs."""
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
