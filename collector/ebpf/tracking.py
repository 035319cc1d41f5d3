"""The node's live connections, put together from what was seen of each at each interface. Pure.

A connection is counted where its opener is nearest: at one interface and side, which is fixed when it is first seen.
All other sightings of it add nothing but what they know of NAT. The invariants: the counters of a connection's rows sum
to what was counted there, `opened` sums to 1, `closed` to 1 once it has ended, and an outcome other than `open` is on
one row. So an interface's packets are in exactly one connection, and a connection's are counted once a node.

A connection that nobody answers is remembered for a while, since an answer may come late, or its opener ask again. Who
floods or scans makes many: beyond MOST_UNANSWERED the longest silent ones are told as ended before their time.

A first row waits for the next look where the backend is not known yet: the first packet of a connection passes its
opener's interface before the kernel has chosen one.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from ..flownumbers import FlowNumbers
from ..outcome import NO_REPLY_NS, OPEN
from .epochs import epochs, groups
from .layout import SYN
from .lifetimes import (
    CLOSE,
    KEPT_NS,
    QUIET_NS,
    SYN_SENT,
    TCP,
    TIME_WAIT,
    UDP,
    UNSURE_NS,
    idle_limit,
    outcome_of,
    state_of,
)
from .live import NEVER, Columns, Flags, Keys, Live, Rows
from .openers import SLICE_ROWS, slices
from .sightings import Part, Sightings

MOST_UNANSWERED: Final = 1 << 17
"""Connections without an answer that are remembered for longer than NO_REPLY_NS."""
_NAT: Final = tuple(f"{end}_{part}" for end in ("backend", "nat_src") for part in ("hi", "lo", "port"))
_TUPLE: Final = tuple(f"{end}_{part}" for end in ("src", "dst") for part in ("hi", "lo", "port")) + _NAT
_COUNTERS: Final = ("packets", "bytes", "reply_packets", "reply_bytes")

ROW: Final = {
    "start": "i8",  # ns since the epoch
    "time": "i8",
    "flow_id": "u8",
    **{name: "u2" if name.endswith("port") else "u8" for name in _TUPLE},
    "protocol": "u1",
    "outcome": "u1",
    "opened": "u1",
    "closed": "u1",
    **dict.fromkeys(_COUNTERS, "u8"),
}
"""A row has the columns that FLOWS had at first; counters are of what came since the connection's row before."""
_LIVE: Final = {
    **{name: ROW[name] for name in (*_TUPLE, *_COUNTERS, "protocol", "start", "flow_id")},
    "key": "u8",
    "observer": "u8",
    "first": "i8",  # ns of CLOCK_MONOTONIC
    "last": "i8",
    "isn": "u4",
    "sent": "u1",  # flags of the opener's packets, of all time
    "answered": "u1",  # flags of the other's
    "settled": "u1",  # the outcome that was told
    "is_known": "?",
    "is_replied": "?",
    "has_waited": "?",
    "is_told": "?",  # has had its first row
    "is_closed": "?",  # has had its last row
}
LAYOUT: Final = " ".join(f"{name}:{kind}" for name, kind in _LIVE.items())
"""How what is known of connections is laid out: what is laid out otherwise cannot be restored."""
_TOLD: Final = tuple(name for name in ROW if name in _LIVE)


class Connections:
    """The connections that live. Times are ns of CLOCK_MONOTONIC; `wall_ns`, added to them, makes them UTC."""

    def __init__(self) -> None:
        self._live = Live(_LIVE)
        self._numbers = FlowNumbers()
        self.cut = 0
        """Connections that were told as ended before their time, since the start."""

    def __len__(self) -> int:
        return len(self._live)

    @property
    def live(self) -> Live:
        """The columns that they are kept in, to be saved and restored."""
        return self._live

    def holds(self, keys: Keys) -> Flags:
        """Which of the keys are live."""
        return self._live.find(keys)[1]

    def update(self, seen: Sightings, now_ns: int, wall_ns: int, *, final: bool = False) -> Columns:
        """Add one look at the kernel; returns columns as ROW has them. With `final` nothing waits for the next look."""
        order = np.argsort(seen.key)
        ordered = seen.key[order]
        look = _Look(self._live, self._numbers, ordered, now_ns, wall_ns, final=final)
        first = 0
        while first < len(order):  # slices that part no key
            last = first + SLICE_ROWS
            last = int(np.searchsorted(ordered, ordered[last - 1], side="right")) if last < len(order) else len(order)
            look.add(seen.part(order[first:last]))
            first = last
        self.cut += look.cut()
        look.finish()
        return look.rows()


class _Look:
    """One update: sightings slice by slice, then what is due although nothing came, then the rows."""

    def __init__(self, live: Live, numbers: FlowNumbers, keys: Keys, now_ns: int, wall_ns: int, *, final: bool) -> None:
        self._live, self._numbers = live, numbers
        self._now_ns, self._wall_ns, self._final = now_ns, wall_ns, final
        self._is_due = live.due <= now_ns
        # a sighting tells of a connection and ends one at most; memory is taken where it is written to
        most = 2 * len(keys) + int(self._is_due.sum()) + max(0, len(live) + len(keys) - MOST_UNANSWERED)
        self._rows: Columns = {name: np.empty(most, kind) for name, kind in ROW.items()}
        self._told = 0

    def rows(self) -> Columns:
        """All rows that were told."""
        return {name: column[: self._told] for name, column in self._rows.items()}

    def add(self, seen: Part) -> None:
        """Add sightings in order of key."""
        begin, group = groups(seen.key)
        slots = self._live.slots(seen.key[begin])
        epoch = epochs(seen, begin, group, slots, self._live)
        if epoch is None:
            self._add(seen, begin, group, slots)
            return
        for number in range(int(epoch.max()) + 1):
            rows = np.flatnonzero(epoch == number)
            if len(rows):
                part_begin, part_group = groups(group[rows])
                those = group[rows[part_begin]]
                some = slots[those]
                if number:
                    self._end(some[some >= 0])
                self._add(seen.take(rows), part_begin, part_group, some, anew=number > 0)
                slots[those] = some

    def _end(self, slots: Rows) -> None:
        """The last rows of connections whose tuple begins another."""
        live = self._live.get(slots)
        self._tell(live, is_over=True, final=True)

    def _add(self, seen: Part, begin: Rows, group: Rows, slots: Rows, *, anew: bool = False) -> None:
        """Add sightings to their connections and tell of them; `slots`, one a group, is completed: -1 was none.

        With `anew` all of the connections are new ones, also those that have a slot from one before.
        """
        is_new = np.ones(len(slots), np.bool_) if anew else slots < 0
        without = np.flatnonzero(slots < 0)
        if len(without):
            slots[without] = self._live.take(len(without))
            self._live.note(seen.key[begin[without]], slots[without])
        live = self._open(seen, begin, slots, is_new)
        self._count(live, seen, begin, group)
        new = np.flatnonzero(is_new)
        live["start"][new] = start = live["first"][new] + self._wall_ns
        live["flow_id"][new] = self._numbers.take(len(new), int(start.max(initial=0)))
        self._look_at(slots, live)
        inside = slots[slots < len(self._is_due)]
        self._is_due[inside] = False

    def _open(self, seen: Part, begin: Rows, slots: Rows, is_new: Flags) -> Columns:
        """The columns of these slots, with new connections as one of their sightings has them, and nothing counted."""
        new = np.flatnonzero(is_new)
        if not len(new):
            return self._live.get(slots)
        rows = begin[new]
        told = {**seen.tuples(rows), "key": seen.key[rows], "is_known": seen.is_known[rows]}
        told["observer"] = np.minimum.reduceat(seen.observer, begin)[new]
        told["first"] = np.full(len(new), NEVER)
        if len(new) == len(slots):
            return self._live.blank(len(slots)) | told
        live = self._live.get(slots)
        for name, column in live.items():
            column[new] = told.get(name, 0)
        return live

    def _count(self, live: Columns, seen: Part, begin: Rows, group: Rows) -> None:
        rows = np.flatnonzero(seen.is_known & ~live["is_known"][group])
        if len(rows):
            for name, column in seen.translated(rows).items():
                live[name][group[rows]] = column
            live["is_known"][group[rows]] = True
        counted = np.flatnonzero(seen.observer == live["observer"][group])
        of = group[counted]
        if not len(of):
            return
        told = seen.counters(counted)
        told |= {"sent": seen.sent[counted], "answered": seen.answered[counted], "first": seen.first[counted]}
        if len(of) == len(begin) and (np.diff(of) == 1).all():  # one sighting each: nothing to sum
            at, summed = of, told
        else:
            first, _ = groups(of)
            at = of[first]
            summed = {name: np.add.reduceat(told[name], first) for name in _COUNTERS}
            for name, by in (
                ("sent", np.bitwise_or),
                ("answered", np.bitwise_or),
                ("first", np.minimum),
                ("last", np.maximum),
            ):
                summed[name] = by.reduceat(told[name], first)
        for name in _COUNTERS:
            live[name][at] += summed[name]
        for name in ("sent", "answered"):
            live[name][at] |= summed[name]
        live["is_replied"][at] |= summed["reply_packets"] > 0
        live["last"][at] = np.maximum(live["last"][at], summed["last"])
        live["first"][at] = np.minimum(live["first"][at], summed["first"])
        rows = counted[(told["sent"] & SYN) != 0]
        live["isn"][group[rows]] = seen.isn(rows)

    def cut(self) -> int:
        """End what nobody answers, beyond MOST_UNANSWERED; returns how many."""
        slots = np.flatnonzero(self._live.due != NEVER)
        if len(slots) <= MOST_UNANSWERED:
            return 0
        known = self._live.get(slots, ("is_replied", "is_closed", "last"))
        is_silent = ~known["is_replied"] & ~known["is_closed"] & (self._now_ns - known["last"] >= NO_REPLY_NS)
        slots, last = slots[is_silent], known["last"][is_silent]
        slots = slots[np.argsort(last)[: max(0, len(slots) - MOST_UNANSWERED)]]
        for part in slices(len(slots)):
            self._look_at(slots[part], self._live.get(slots[part]), is_over=True)
        self._is_due[slots[slots < len(self._is_due)]] = False
        return len(slots)

    def finish(self) -> None:
        """Look at what is due although nothing came."""
        slots = np.flatnonzero(self._is_due)
        for part in slices(len(slots)):
            self._look_at(slots[part], self._live.get(slots[part]))
        self._live.settle()

    def _look_at(self, slots: Rows, live: Columns, *, is_over: bool = False) -> None:
        """Tell of these connections, and forget those that are done with: with `is_over` all of them."""
        due = self._tell(live, is_over=is_over, final=is_over or self._final)
        self._live.put(slots, live)
        self._live.due[slots] = due
        is_late = is_over | (live["protocol"] != TCP) | (self._now_ns - live["last"] >= KEPT_NS)
        is_gone = live["is_closed"] & is_late
        if is_gone.any():
            self._live.release(slots[is_gone])

    def _tell(self, live: Columns, *, is_over: bool, final: bool) -> npt.NDArray[np.int64]:
        """The rows of these connections, noted in `live`; returns when to look at each again.

        `is_over`: they have ended in any case.
        """
        now_ns = self._now_ns
        state, limit = state_of(live), idle_limit(live)
        is_done = (state == TIME_WAIT) | (state == CLOSE)
        ended = ~live["is_closed"] & (is_over | (now_ns - live["last"] >= np.where(is_done, QUIET_NS, limit)))
        outcome = np.where(live["settled"] == OPEN, outcome_of(live, state, ended, now_ns), OPEN)

        is_tracked = (live["protocol"] == TCP) | (live["protocol"] == UDP)
        is_unsure = is_tracked & ~live["is_told"] & ~live["is_known"] & (now_ns - live["first"] < UNSURE_NS)
        is_ending = is_done & ~ended & ~live["is_closed"] & ~live["has_waited"]
        waits = (is_unsure | is_ending) & ~ended & (not final)
        is_news = ~live["is_told"] | ended | (outcome != OPEN) | (live["packets"] > 0) | (live["reply_packets"] > 0)
        is_news &= ~waits
        self._note(live, outcome, ended, is_news)

        live["settled"] = np.where(is_news & (outcome != OPEN), outcome, live["settled"])
        live["is_told"] |= is_news
        live["is_closed"] |= is_news & ended
        live["has_waited"] = waits
        may_be_unanswered = (state == SYN_SENT) & (live["settled"] == OPEN)
        due = np.where(may_be_unanswered, live["first"] + NO_REPLY_NS, live["last"] + limit)
        due = np.where(live["is_closed"], live["last"] + KEPT_NS, due)
        return np.where(waits | (is_done & ~live["is_closed"]), now_ns, due)

    def _note(self, live: Columns, outcome: npt.NDArray[np.uint8], ended: Flags, is_news: Flags) -> None:
        """Keep the rows that are news; their counts are told with that."""
        rows = np.flatnonzero(is_news)
        if not len(rows):
            return
        part = slice(self._told, self._told + len(rows))
        told = {name: column[part] for name, column in self._rows.items()}
        for name in _TOLD:
            told[name][:] = live[name][rows]
        told["time"][:] = np.maximum(self._now_ns + self._wall_ns, told["start"])
        told["outcome"][:] = outcome[rows]
        told["opened"][:] = ~live["is_told"][rows]
        told["closed"][:] = ended[rows]
        for name in _COUNTERS:
            live[name][rows] = 0
        self._told = part.stop
