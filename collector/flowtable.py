"""The node's live connections: what the kernel said last about each, so that every row is a delta.

Pure: dumps and endings in, rows out. It keeps one sorted array and merges each look at the kernel by binary search. The
invariants: over all rows of a connection, each counter sums to the kernel's last value, `opened` sums to 1, `closed`
to 1 once it has ended, and an outcome other than `open` is on exactly one row. So sums count connections and failures.

The kernel may drop an entry that nobody has answered, where its table is nearly full, and make another when the SYN is
sent again. That is the same connection: it goes on under its `flow_id`, and is neither opened nor closed again.

A connection seen for the first time gets its whole count so far, also one that is older than this table: nobody
counted it before. A table that is not handed on to the next agent (`watch`, `changed`, `restore`) makes that one count
live connections again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .connections import COUNTERS, ENTRY, Entries, mixed
from .flownumbers import FlowNumbers
from .outcome import NO_REPLY, OPEN, judge

GRACE_DUMPS: Final = 3
"""How many dumps in a row may miss a connection before it counts as ended. A dump of a changing table can leave entries
out, and an ending can be told a moment after the entry has gone from the dump."""

ROW: Final = np.dtype(
    [*ENTRY.descr, ("flow_id", "u8"), ("time", "i8"), ("outcome", "u1"), ("opened", "u1"), ("closed", "u1")]
)
_LIVE: Final = np.dtype([*ENTRY.descr, ("flow_id", "u8"), ("settled", "u1"), ("missed", "u1"), ("again", "u1")])
_GONE: Final = np.dtype([("tuple", "u8"), ("start", "i8"), ("until", "i8"), ("flow_id", "u8")])
"""Connections that ended unanswered: `until` the SYN may be sent again."""

FIRST_RESEND_NS: Final = 1_000_000_000  # TCP's initial timeout, RFC 6298; it doubles each time
UNANSWERED_NS: Final = 120_000_000_000
"""How long the kernel keeps an entry without an answer: one that has become older was not dropped, but is over."""
_LATE_NS: Final = 10_000_000_000  # a look at the kernel may come so much later than what it tells
_MOST_GONE: Final = 65_536
LAYOUT: Final = f"{_LIVE.descr} {_GONE.descr}"
"""How the arrays of `changed` are laid out: those of another layout cannot be restored."""
_TCP, _SEEN_REPLY = 6, np.uint32(2)


class FlowTable:
    """The connections that live, and the deltas between two looks at them."""

    def __init__(self) -> None:
        self._live: npt.NDArray[np.void] = np.empty(0, _LIVE)
        self._gone: npt.NDArray[np.void] = np.empty(0, _GONE)  # sorted by tuple, one each
        self._numbers = FlowNumbers()
        self._changes: list[tuple[npt.NDArray[np.void], npt.NDArray[np.uint64]]] | None = None  # put, keys dropped
        self._more_gone: list[npt.NDArray[np.void]] = []

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
        _complete(seen, before, known, now_ns)
        self._number(seen, before, known, np.flatnonzero(ended), now_ns)
        self._remember(seen[ended], now_ns)
        self._number(seen, before, known, np.flatnonzero(~ended), now_ns)
        is_new = ~known & (before["again"] == 0)

        missing = np.ones(len(self._live), np.bool_)
        missing[position[known]] = False
        kept = self._live[missing]
        kept["missed"] += 1
        vanished = kept["missed"] >= GRACE_DUMPS

        rows = np.concatenate(
            [
                _rows(seen, before, is_new, ended, now_ns),
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
        self._remember(kept[vanished], now_ns)
        live = np.concatenate([seen[~ended], kept[~vanished]])
        self._live = live[np.argsort(live["key"], kind="stable")]
        if self._changes is not None:
            is_changed = ~ended & (_octets(seen) != _octets(before)).any(axis=1)
            dropped = np.concatenate([seen["key"][ended & known], kept["key"][vanished]])
            self._changes.append((seen[is_changed], dropped))
        return rows[_is_news(rows)]

    def watch(self) -> None:
        """From now on remember what changes, for `changed`."""
        self._changes, self._more_gone = [], []

    def changed(self, *, everything: bool) -> dict[str, npt.NDArray[Any]]:
        """What has changed since the last call, or all that there is, for `restore`; flat arrays of `LAYOUT`."""
        changes, gone = (self._changes or []), self._more_gone
        if self._changes is not None:
            self.watch()
        if everything:
            changes, gone = [(self._live, np.empty(0, np.uint64))], [self._gone]
        put, dropped = _last_changes(changes)
        return {"put": _octets(put).ravel(), "dropped": dropped, "gone": _octets(_joined(gone, _GONE)).ravel()}

    def restore(self, changes: Iterable[Mapping[str, npt.NDArray[Any]]]) -> None:
        """Be as another was, by all that it told in `changed`, in order, the first time everything."""
        told = list(changes)
        self._live, _ = _last_changes([(part["put"].view(_LIVE), part["dropped"]) for part in told])
        self._gone = _first_of_each([part["gone"].view(_GONE) for part in reversed(told)])

    def _number(
        self,
        seen: npt.NDArray[np.void],
        before: npt.NDArray[np.void],
        known: npt.NDArray[Any],
        rows: npt.NDArray[np.int64],
        now_ns: int,
    ) -> None:
        """Give these rows of `seen` their `flow_id`: new ones a new one, but for those that are `_resumed`."""
        fresh = rows[~known[rows]]
        again = self._resumed(seen, before, fresh)
        fresh = np.setdiff1d(fresh, again)
        before["flow_id"][fresh] = self._numbers.take(len(fresh), now_ns)
        seen["flow_id"][rows], seen["again"][rows] = before["flow_id"][rows], before["again"][rows]
        goes_on = rows[before["again"][rows] > 0]
        seen["start"][goes_on] = before["start"][goes_on]

    def _resumed(
        self, seen: npt.NDArray[np.void], before: npt.NDArray[np.void], fresh: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Those of these new rows that go on with a connection that ended unanswered: its facts, in `before`."""
        fresh = fresh[seen["protocol"][fresh] == _TCP]
        if not len(self._gone) or not len(fresh):
            return fresh[:0]
        tuples, start = _tuples(seen[fresh]), seen["start"][fresh]
        gone = self._gone[np.minimum(np.searchsorted(self._gone["tuple"], tuples), len(self._gone) - 1)]
        is_same = (gone["tuple"] == tuples) & (start > gone["start"]) & (start <= gone["until"])
        fresh, gone = fresh[is_same], gone[is_same]
        for name in ("flow_id", "start"):
            before[name][fresh] = gone[name]
        before["settled"][fresh], before["again"][fresh] = NO_REPLY, 1
        return fresh

    def _remember(self, ended: npt.NDArray[np.void], now_ns: int) -> None:
        """Keep what ended unanswered for as long as its SYN may be sent again."""
        is_unanswered = (ended["reply_packets"] == 0) & ((ended["status"] & _SEEN_REPLY) == 0)
        end = np.where(ended["stop"] > 0, ended["stop"], now_ns)
        is_dropped = is_unanswered & (end - ended["start"] < UNANSWERED_NS) & (ended["protocol"] == _TCP)
        ended, end = ended[is_dropped], end[is_dropped]
        gone = np.zeros(len(ended), _GONE)
        gone["tuple"], gone["start"], gone["flow_id"] = _tuples(ended), ended["start"], ended["flow_id"]
        gone["until"] = end + (end - ended["start"]) + FIRST_RESEND_NS
        if self._changes is not None:
            self._more_gone.insert(0, gone)
        self._gone = _first_of_each([gone, self._gone[self._gone["until"] + _LATE_NS > now_ns]])

    def _find(self, keys: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Where each key is or would be in the live table, and whether it is there."""
        position = np.searchsorted(self._live["key"], keys)
        known = position < len(self._live)
        known[known] = self._live["key"][position[known]] == keys[known]
        return position, known


def _first_of_each(gone: list[npt.NDArray[np.void]]) -> npt.NDArray[np.void]:
    """One row a tuple, the first, of not more than are kept."""
    rows = _joined(gone, _GONE)[:_MOST_GONE]
    _, first = np.unique(rows["tuple"], return_index=True)
    return rows[first]


def _last_changes(
    changes: list[tuple[npt.NDArray[np.void], npt.NDArray[np.uint64]]],
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.uint64]]:
    """What became of each key at last, sorted by key: the rows that stand, and the keys that are dropped."""
    put = _joined([rows for rows, _ in changes], _LIVE)
    keys = np.concatenate([put["key"], *(dropped for _, dropped in changes)])
    step = [np.repeat(np.arange(len(changes)), [len(part[end]) for part in changes]) for end in (0, 1)]
    order = np.lexsort((np.concatenate(step), keys))
    last = order[np.append(keys[order][1:] != keys[order][:-1], np.ones(min(1, len(keys)), np.bool_))]
    return put[last[last < len(put)]], keys[last[last >= len(put)]]


def _joined(arrays: list[npt.NDArray[np.void]], dtype: np.dtype[Any]) -> npt.NDArray[np.void]:
    return np.concatenate([np.empty(0, dtype), *arrays])


def _octets(rows: npt.NDArray[np.void]) -> npt.NDArray[np.uint8]:
    """The rows' bytes, a row each."""
    return np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), rows.dtype.itemsize)


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
    rows["closed"] = ended & (after["again"] == 0)
    rows["outcome"] = np.where(before["settled"] == OPEN, judge(after, ended, now_ns), OPEN)
    return rows


def _is_news(rows: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    news: npt.NDArray[np.bool_] = (rows["opened"] | rows["closed"] | rows["outcome"]) != 0
    for name in COUNTERS:
        news |= rows[name] > 0
    return news


def _tuples(entries: npt.NDArray[np.void]) -> npt.NDArray[np.uint64]:
    """Hash of what the opener sees of each connection."""
    ports = entries["src_port"].astype(np.uint64) << np.uint64(32) | entries["dst_port"].astype(np.uint64)
    halves = (entries[f"{end}_{half}"] for end in ("src", "dst") for half in ("hi", "lo"))
    return mixed(len(entries), *halves, ports << np.uint64(16) | entries["zone"])
