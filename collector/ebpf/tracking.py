"""The node's live connections, put together from what was seen of each at each interface. Pure.

A connection is counted where its opener is nearest: at one interface and side, which is fixed when it is first seen.
All other sightings of it add nothing but what they know of NAT. The invariants: the counters of a connection's rows sum
to what was counted there, `opened` sums to 1, `closed` to 1 once it has ended, and an outcome other than `open` is on
one row. So an interface's packets are in exactly one connection, and a connection's are counted once a node.

A first row waits for the next look where the backend is not known yet: the first packet of a connection passes its
opener's interface before the kernel has chosen one.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..flownumbers import FlowNumbers
from ..outcome import NO_REPLY_NS, OPEN, judge
from .layout import ACK, FIN, RST, SYN, SYN_ACK
from .live import NEVER, Columns, Flags, Keys, Live, Rows
from .sightings import SLICE_ROWS, Sightings, begins, slices

SECOND_NS: Final = 1_000_000_000
QUIET_NS: Final = SECOND_NS // 5
"""A TCP connection whose end was seen has ended after this much silence, so that its last packets are in its row."""
UNSURE_NS: Final = SECOND_NS // 5
"""How long a first row waits for the backend: longer than a packet takes from one interface of the node to another."""
KEPT_NS: Final = 5 * SECOND_NS
"""How long an ended connection is remembered, so that a packet that comes late is none of a new one."""
TCP_IDLE_NS: Final = 24 * 3600 * SECOND_NS
SHORT_IDLE_NS: Final = 30 * SECOND_NS  # as conntrack's timeouts of UDP and ICMP
TCP_UNREPLIED_IDLE_NS: Final = 120 * SECOND_NS  # of SYN_SENT
STREAM_IDLE_NS: Final = 120 * SECOND_NS  # of UDP that was answered and went on for more than STREAM_NS
STREAM_NS: Final = 2 * SECOND_NS

_TCP: Final = 6
_UDP: Final = 17
_SEEN_REPLY, _ASSURED = np.uint32(2), np.uint32(4)  # enum ip_conntrack_status
_SYN_SENT, _ESTABLISHED, _FIN_WAIT, _TIME_WAIT, _CLOSE = 1, 3, 4, 7, 8  # enum tcp_conntrack
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
_TOLD: Final = tuple(name for name in ROW if name in _LIVE)


class Connections:
    """The connections that live. Times are ns of CLOCK_MONOTONIC; `wall_ns`, added to them, makes them UTC."""

    def __init__(self) -> None:
        self._live = Live(_LIVE)
        self._numbers = FlowNumbers()

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
            look.add(seen.columns(order[first:last]))
            first = last
        look.finish()
        return look.rows()


class _Look:
    """One update: sightings slice by slice, then what is due although nothing came, then the rows."""

    def __init__(self, live: Live, numbers: FlowNumbers, keys: Keys, now_ns: int, wall_ns: int, *, final: bool) -> None:
        self._live, self._numbers = live, numbers
        self._now_ns, self._wall_ns, self._final = now_ns, wall_ns, final
        distinct = keys[_groups(keys)[0]]
        live.reserve(len(distinct) - int(live.find(distinct)[1].sum()))
        self._is_due = live.due <= now_ns
        # a sighting tells of a connection and ends one at most; memory is taken where it is written to
        most = 2 * len(keys) + int(self._is_due.sum())
        self._rows: Columns = {name: np.empty(most, kind) for name, kind in ROW.items()}
        self._told = 0

    def rows(self) -> Columns:
        """All rows that were told."""
        return {name: column[: self._told] for name, column in self._rows.items()}

    def add(self, seen: Columns) -> None:
        """Add sightings in order of key."""
        begin, group = _groups(seen["key"])
        slots = self._live.slots(seen["key"][begin])
        epoch = self._epochs(seen, begin, group, slots)
        if epoch is None:
            self._add(seen, begin, group, slots)
            return
        for number in range(int(epoch.max()) + 1):
            rows = np.flatnonzero(epoch == number)
            if len(rows):
                part_begin, part_group = _groups(group[rows])
                groups = group[rows[part_begin]]
                some = slots[groups]
                if number:
                    self._end(some[some >= 0])
                self._add({name: seen[name][rows] for name in seen}, part_begin, part_group, some, anew=number > 0)
                slots[groups] = some

    def _epochs(self, seen: Columns, begin: Rows, group: Rows, slots: Rows) -> npt.NDArray[np.int64] | None:
        """For sightings in order of key: 0 of the connection from before, 1 of the next with the same tuple, ...

        None where each group is one connection. A connection begins with a SYN whose sequence number is not that of
        before, where it is seen first; what is seen of its tuple from then on is its own.
        """
        starts = np.flatnonzero(begins(seen))
        if not len(starts):
            return None
        slot = slots[group[starts]]
        if (slot >= 0).any():
            known = self._live.get(np.maximum(slot, 0), ("isn", "sent"))
            is_repeated = (slot >= 0) & (known["isn"] == seen["isn"][starts]) & ((known["sent"] & SYN) != 0)
            starts = starts[~is_repeated]
            if not len(starts):
                return None
        of, isn = group[starts], seen["isn"][starts]
        since = np.full(len(begin), NEVER, np.int64)
        first, _ = _groups(of)
        since[of[first]] = np.minimum.reduceat(seen["first"][starts], first)
        is_after = seen["first"] >= since[group]
        is_one_each = not ((of[1:] == of[:-1]) & (isn[1:] != isn[:-1])).any()
        if is_one_each and (slots[of] < 0).all() and (is_after | (since[group] == NEVER)).all():
            return None
        return _numbered(seen, starts, group, is_after)

    def _end(self, slots: Rows) -> None:
        """The last rows of connections whose tuple begins another."""
        live = self._live.get(slots)
        self._tell(live, is_over=True, final=True)

    def _add(self, seen: Columns, begin: Rows, group: Rows, slots: Rows, *, anew: bool = False) -> None:
        """Add sightings to their connections and tell of them; `slots`, one a group, is completed: -1 was none.

        With `anew` all of the connections are new ones, also those that have a slot from one before.
        """
        is_new = np.ones(len(slots), np.bool_) if anew else slots < 0
        without = np.flatnonzero(slots < 0)
        if len(without):
            slots[without] = self._live.take(len(without))
            self._live.note(seen["key"][begin[without]], slots[without])
        live = self._open(seen, begin, slots, is_new)
        self._count(live, seen, begin, group)
        new = np.flatnonzero(is_new)
        live["start"][new] = start = live["first"][new] + self._wall_ns
        live["flow_id"][new] = self._numbers.take(len(new), int(start.max(initial=0)))
        self._look_at(slots, live)
        inside = slots[slots < len(self._is_due)]
        self._is_due[inside] = False

    def _open(self, seen: Columns, begin: Rows, slots: Rows, is_new: Flags) -> Columns:
        """The columns of these slots, with new connections as their nearest sighting has them, and nothing counted."""
        new = np.flatnonzero(is_new)
        if not len(new):
            return self._live.get(slots)
        live = self._live.get(slots) if len(new) < len(slots) else self._live.blank(len(slots))
        nearest = np.minimum.reduceat(seen["observer"], begin)
        rows = begin[new]
        for name in _LIVE:
            live[name][new] = seen[name][rows] if name in (*_TUPLE, "protocol", "key") else 0
        live["observer"][new] = nearest[new]
        live["first"][new] = NEVER
        return live

    def _count(self, live: Columns, seen: Columns, begin: Rows, group: Rows) -> None:
        is_news = seen["is_known"] & ~live["is_known"][group]
        if is_news.any():
            rows = np.flatnonzero(is_news)
            for name in _NAT:
                live[name][group[rows]] = seen[name][rows]
            live["is_known"][group[rows]] = True
        counted = np.flatnonzero(seen["observer"] == live["observer"][group])
        of = group[counted]
        if len(of) == len(begin) and (np.diff(of) == 1).all():  # one sighting each: nothing to sum
            at = of
            summed: Columns = {name: seen[name][counted] for name in (*_COUNTERS, "sent", "answered", "first", "last")}
        elif not len(of):
            return
        else:
            first, _ = _groups(of)
            at = of[first]
            summed = {name: np.add.reduceat(seen[name][counted], first) for name in _COUNTERS}
            for name, by in (
                ("sent", np.bitwise_or),
                ("answered", np.bitwise_or),
                ("first", np.minimum),
                ("last", np.maximum),
            ):
                summed[name] = by.reduceat(seen[name][counted], first)
        for name in _COUNTERS:
            live[name][at] += summed[name]
        for name in ("sent", "answered"):
            live[name][at] |= summed[name]
        live["is_replied"][at] |= summed["reply_packets"] > 0
        live["last"][at] = np.maximum(live["last"][at], summed["last"])
        live["first"][at] = np.minimum(live["first"][at], summed["first"])
        rows = counted[(seen["sent"][counted] & SYN) != 0]
        live["isn"][group[rows]] = seen["isn"][rows]

    def finish(self) -> None:
        """Look at what is due although nothing came."""
        slots = np.flatnonzero(self._is_due)
        for part in slices(len(slots)):
            self._look_at(slots[part], self._live.get(slots[part]))
        self._live.settle()

    def _look_at(self, slots: Rows, live: Columns) -> None:
        """Tell of these connections, and forget those that are done with."""
        due = self._tell(live, is_over=False, final=self._final)
        self._live.put(slots, live)
        self._live.due[slots] = due
        is_late = (live["protocol"] != _TCP) | (self._now_ns - live["last"] >= KEPT_NS)
        is_gone = live["is_closed"] & is_late
        if is_gone.any():
            self._live.release(slots[is_gone])

    def _tell(self, live: Columns, *, is_over: bool, final: bool) -> npt.NDArray[np.int64]:
        """The rows of these connections, noted in `live`; returns when to look at each again.

        `is_over`: they have ended in any case.
        """
        now_ns = self._now_ns
        state, limit = _state(live), _idle_limit(live)
        is_done = (state == _TIME_WAIT) | (state == _CLOSE)
        ended = ~live["is_closed"] & (is_over | (now_ns - live["last"] >= np.where(is_done, QUIET_NS, limit)))
        outcome = np.where(live["settled"] == OPEN, _outcome(live, state, ended, now_ns), OPEN)

        is_tracked = (live["protocol"] == _TCP) | (live["protocol"] == _UDP)
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
        may_be_unanswered = (state == _SYN_SENT) & (live["settled"] == OPEN)
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


def _groups(keys: npt.NDArray[Any]) -> tuple[Rows, Rows]:
    """Of sorted keys: where each distinct one begins, and the number of the group that each row is in."""
    is_first = np.ones(len(keys), np.bool_)
    is_first[1:] = keys[1:] != keys[:-1]
    return np.flatnonzero(is_first), np.cumsum(is_first) - 1


def _state(live: Columns) -> npt.NDArray[np.uint8]:
    """The state in which conntrack would be (enum tcp_conntrack); of other protocols 0.

    But for one: where both ends have ended their streams a reset takes nothing back. A packet that was sent again and
    finds its socket gone is answered so; conntrack knows its last state alone, and is in CLOSE then.
    """
    both, either = live["sent"] & live["answered"], live["sent"] | live["answered"]
    state = np.where(~live["is_replied"] & ((live["sent"] & SYN) != 0), np.uint8(_SYN_SENT), np.uint8(_ESTABLISHED))
    state[(either & FIN) != 0] = _FIN_WAIT
    state[(either & RST) != 0] = _CLOSE
    state[(both & FIN) != 0] = _TIME_WAIT
    state[live["protocol"] != _TCP] = 0
    return state


def _idle_limit(live: Columns) -> npt.NDArray[np.int64]:
    """After how much silence a connection whose end was not seen counts as ended, in ns."""
    is_tcp, is_stream = live["protocol"] == _TCP, live["last"] - live["first"] > STREAM_NS
    kind = is_tcp * np.uint8(2) + (live["is_replied"] & (is_tcp | is_stream))
    limits: npt.NDArray[np.int64] = _LIMITS[kind]
    return limits


_LIMITS: Final = np.array([SHORT_IDLE_NS, STREAM_IDLE_NS, TCP_UNREPLIED_IDLE_NS, TCP_IDLE_NS], np.int64)


def _outcome(live: Columns, state: npt.NDArray[np.uint8], ended: Flags, now_ns: int) -> npt.NDArray[np.uint8]:
    """As `outcome.judge` judges a conntrack entry in the same state."""
    is_assured = ((live["sent"] & ACK) != 0) & ((live["answered"] & (ACK | SYN_ACK)) != 0)
    entries = {name: live[name] for name in ("protocol", "dst_hi", "dst_lo")}
    entries["start"], entries["tcp_state"], entries["reply_packets"] = live["first"], state, live["is_replied"]
    entries["status"] = np.where(live["is_replied"], _SEEN_REPLY, 0) | np.where(is_assured, _ASSURED, 0)
    return judge(entries, ended, now_ns)


def _numbered(seen: Columns, starts: Rows, group: Rows, is_after: Flags) -> npt.NDArray[np.int64]:
    """The epoch of each sighting, where some tuples begin several connections."""
    isns = group[starts].astype(np.uint64) << np.uint64(32) | seen["isn"][starts]
    number, which = np.unique(isns, return_inverse=True)
    begun = np.full(len(number), NEVER, np.int64)
    np.minimum.at(begun, which, seen["first"][starts])
    of = (number >> np.uint64(32)).astype(np.int64)
    epoch = is_after.astype(np.int64)
    for several in np.flatnonzero(np.bincount(of) > 1):
        rows = slice(*np.searchsorted(group, (several, several + 1)))
        epoch[rows] = np.searchsorted(np.sort(begun[of == several]), seen["first"][rows], side="right")
    return epoch
