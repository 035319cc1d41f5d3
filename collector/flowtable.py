"""The node's live connections: what the kernel said last about each, so that every row is a delta.

Pure: dumps and endings in, rows out. It keeps one sorted array and merges each look at the kernel by binary search. The
invariants: over all rows of a connection, each counter sums to the kernel's last value, `opened` sums to 1, `closed`
to 1 once it has ended, and an outcome other than `open` is on exactly one row. So sums count connections and failures.

A connection seen for the first time gets its whole count so far, also one that is older than this table: nobody
counted it before. The table is not kept over a restart of the agent, so a restart counts live connections again.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .connections import COUNTERS, ENTRY, Entries
from .flownumbers import FlowNumbers
from .outcome import OPEN, judge

GRACE_DUMPS: Final = 3
"""How many dumps in a row may miss a connection before it counts as ended. A dump of a changing table can leave entries
out, and an ending can be told a moment after the entry has gone from the dump."""

ROW: Final = np.dtype(
    [*ENTRY.descr, ("flow_id", "u8"), ("time", "i8"), ("outcome", "u1"), ("opened", "u1"), ("closed", "u1")]
)
_LIVE: Final = np.dtype([*ENTRY.descr, ("flow_id", "u8"), ("settled", "u1"), ("missed", "u1")])


class FlowTable:
    """The connections that live, and the deltas between two looks at them."""

    def __init__(self) -> None:
        self._live: npt.NDArray[np.void] = np.empty(0, _LIVE)
        self._numbers = FlowNumbers()

    def __len__(self) -> int:
        return len(self._live)

    def update(self, dump: Entries, endings: Entries, now_ns: int) -> npt.NDArray[np.void]:
        """Merge one dump and the endings that were told since the dump before; returns an array of dtype ROW.

        An entry may be in both, or several times in either: the ending outranks the dump, the later the earlier.
        """
        endings = _last_of_each(endings)
        dump = _last_of_each(dump)
        dump = dump[~np.isin(dump["key"], endings["key"])]
        seen = np.zeros(len(dump) + len(endings), _LIVE)
        for name in ENTRY.names or ():
            seen[name] = np.concatenate([dump[name], endings[name]])
        ended = np.arange(len(seen)) >= len(dump)

        position, known = self._find(seen["key"])
        before = np.zeros(len(seen), _LIVE)
        before[known] = self._live[position[known]]
        seen["flow_id"] = before["flow_id"]
        seen["flow_id"][~known] = self._numbers.take(int((~known).sum()), now_ns)
        _complete(seen, before, known, now_ns)

        missing = np.ones(len(self._live), np.bool_)
        missing[position[known]] = False
        kept = self._live[missing]
        kept["missed"] += 1
        vanished = kept["missed"] >= GRACE_DUMPS

        rows = np.concatenate(
            [
                _rows(seen, before, ~known, ended, now_ns),
                _rows(
                    kept[vanished],
                    kept[vanished],
                    np.zeros(int(vanished.sum()), np.bool_),
                    np.ones(int(vanished.sum()), np.bool_),
                    now_ns,
                ),
            ]
        )
        seen["settled"] = np.where(before["settled"] != OPEN, before["settled"], rows["outcome"][: len(seen)])
        live = np.concatenate([seen[~ended], kept[~vanished]])
        self._live = live[np.argsort(live["key"], kind="stable")]
        return rows[_is_news(rows)]

    def _find(self, keys: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Where each key is or would be in the live table, and whether it is there."""
        position = np.searchsorted(self._live["key"], keys)
        known = position < len(self._live)
        known[known] = self._live["key"][position[known]] == keys[known]
        return position, known


def _last_of_each(entries: Entries) -> Entries:
    """One entry a key: the one that came last."""
    _, from_behind = np.unique(entries["key"][::-1], return_index=True)
    return entries[len(entries) - 1 - from_behind]


def _complete(seen: npt.NDArray[np.void], before: npt.NDArray[np.void], known: npt.NDArray[Any], now_ns: int) -> None:
    """Fill in what a message may leave out: the start where the kernel keeps none, an ending's state and status."""
    untold = seen["start"] == 0
    seen["start"][untold] = np.where(known, before["start"], now_ns)[untold]
    untold = seen["tcp_state"] == 0
    seen["tcp_state"][untold] = before["tcp_state"][untold]
    seen["status"] |= before["status"]


def _rows(
    after: npt.NDArray[np.void],
    before: npt.NDArray[np.void],
    opened: npt.NDArray[np.bool_],
    ended: npt.NDArray[np.bool_],
    now_ns: int,
) -> npt.NDArray[np.void]:
    """One ROW an entry. Counters that went backwards were zeroed by another program and count from zero."""
    rows = np.zeros(len(after), ROW)
    for name in (*(ENTRY.names or ()), "flow_id"):
        rows[name] = after[name]
    zeroed = np.zeros(len(after), np.bool_)
    for name in COUNTERS:
        zeroed |= after[name] < before[name]
    for name in COUNTERS:
        rows[name] -= np.where(zeroed, np.uint64(0), before[name])
    rows["time"] = np.maximum(np.where(after["stop"] > 0, after["stop"], now_ns), after["start"])
    rows["opened"] = opened
    rows["closed"] = ended
    rows["outcome"] = np.where(before["settled"] == OPEN, judge(after, ended, now_ns), OPEN)
    return rows


def _is_news(rows: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    news: npt.NDArray[np.bool_] = (rows["opened"] | rows["closed"] | rows["outcome"]) != 0
    for name in COUNTERS:
        news |= rows[name] > 0
    return news
