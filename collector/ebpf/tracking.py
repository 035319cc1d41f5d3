"""The node's live connections, put together from what was seen of each at each interface. Pure.

A connection is counted where its opener is nearest: at one interface and side, which is fixed when it is first seen.
All other sightings of it add nothing but what they know of NAT. The invariants: the counters of a connection's rows sum
to what was counted there, `opened` sums to 1, `closed` to 1 once it has ended, and an outcome other than `open` is on
one row. So an interface's packets are in exactly one connection, and a connection's are counted once a node.

A first row waits for the next look where the backend is not known yet: the first packet of a connection passes its
opener's interface before the kernel has chosen one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from ..connections import ENTRY
from ..flownumbers import FlowNumbers
from ..outcome import NO_REPLY_NS, OPEN, judge
from .layout import ACK, FIN, RST, SYN, SYN_ACK
from .sightings import SIGHTING, Keys, Sightings, begins

SECOND_NS: Final = 1_000_000_000
QUIET_NS: Final = SECOND_NS // 5
"""A TCP connection whose end was seen has ended after this much silence, so that its last packets are in its row."""
UNSURE_NS: Final = SECOND_NS // 5
"""How long a first row waits for the backend: longer than a packet takes from one interface of the node to another."""
KEPT_NS: Final = 5 * SECOND_NS
"""How long an ended connection is remembered, so that a packet that comes late is none of a new one."""
TCP_IDLE_NS: Final = 24 * 3600 * SECOND_NS
UNREPLIED_IDLE_NS: Final = 30 * SECOND_NS  # as conntrack's timeouts of UDP and ICMP
TCP_UNREPLIED_IDLE_NS: Final = 120 * SECOND_NS  # of SYN_SENT
REPLIED_IDLE_NS: Final = 120 * SECOND_NS  # of UDP streams

_TCP: Final = 6
_UDP: Final = 17
_NEVER: Final = np.iinfo(np.int64).max
_SEEN_REPLY, _ASSURED = np.uint32(2), np.uint32(4)  # enum ip_conntrack_status
_SYN_SENT, _ESTABLISHED, _FIN_WAIT, _TIME_WAIT, _CLOSE = 1, 3, 4, 7, 8  # enum tcp_conntrack
_NAT: Final = tuple(f"{end}_{part}" for end in ("backend", "nat_src") for part in ("hi", "lo", "port"))
_TUPLE: Final = tuple(f"{end}_{part}" for end in ("src", "dst") for part in ("hi", "lo", "port")) + _NAT
_COUNTERS: Final = ("packets", "bytes", "reply_packets", "reply_bytes")

ROW: Final = np.dtype(
    [
        ("start", "i8"),  # ns since the epoch
        ("time", "i8"),
        ("flow_id", "u8"),
        *[(name, SIGHTING[name]) for name in _TUPLE],
        *[(name, "u8") for name in _COUNTERS],
        ("protocol", "u1"),
        ("outcome", "u1"),
        ("opened", "u1"),
        ("closed", "u1"),
    ]
)
"""ROW has the columns of FLOWS; counters are of what came since the connection's row before."""
_LIVE: Final = np.dtype(
    [
        *[(name, ROW[name]) for name in (*_TUPLE, *_COUNTERS, "protocol", "start", "flow_id")],
        ("key", "u8"),
        ("observer", "u8"),  # 0 where the slot is free
        ("first", "i8"),  # ns of CLOCK_MONOTONIC
        ("last", "i8"),
        ("isn", "u4"),
        ("sent", "u1"),  # flags of the opener's packets, of all time
        ("answered", "u1"),  # flags of the other's
        ("settled", "u1"),  # the outcome that was told
        ("is_known", "?"),
        ("is_replied", "?"),
        ("has_waited", "?"),
        ("is_told", "?"),  # has had its first row
        ("is_closed", "?"),  # has had its last row
    ]
)
_SLOTS: Final = 1024
SLICE_ROWS: Final = 32_768
_NONE: Final = np.empty(0, np.int64)


class Connections:
    """The connections that live. Times are ns of CLOCK_MONOTONIC; `wall_ns`, added to them, makes them UTC."""

    def __init__(self) -> None:
        self._live = np.zeros(_SLOTS, _LIVE)
        self._due = np.full(_SLOTS, _NEVER, np.int64)  # when to look at a slot although nothing came
        self._free = np.arange(_SLOTS)
        self._keys: Keys = np.empty(0, np.uint64)  # sorted
        self._slots = _NONE  # of each key
        self._numbers = FlowNumbers()

    def __len__(self) -> int:
        return len(self._keys)

    def holds(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Which of the keys are live."""
        return self._find(keys)[1]

    def update(self, seen: Sightings, now_ns: int, wall_ns: int, *, final: bool = False) -> npt.NDArray[np.void]:
        """Add one look at the kernel; returns an array of dtype ROW. With `final` nothing waits for the next look."""
        is_due = self._due <= now_ns
        told = []
        order = np.argsort(seen["key"], kind="stable")
        for first, last in _slices(seen["key"][order]):
            rows, touched = self._look(_picked(seen, order[first:last]), now_ns, wall_ns, final=final)
            told += rows
            is_due[touched[touched < len(is_due)]] = False
        told.append(self._look_again(np.flatnonzero(is_due), now_ns, wall_ns, final=final))
        return np.concatenate(told)

    def _look(
        self, seen: Sightings, now_ns: int, wall_ns: int, *, final: bool
    ) -> tuple[list[npt.NDArray[np.void]], npt.NDArray[np.int64]]:
        """Add sightings in order of key; returns rows, and the slots that were looked at."""
        told, touched = [], []
        epoch = self._epochs(seen)
        for number in range(int(epoch.max(initial=0)) + 1):
            part = _picked(seen, np.flatnonzero(epoch == number))
            if number:
                replaced = self._live_of(part)
                told.append(self._tell(replaced, now_ns, wall_ns, is_over=True, final=True))
                self._release(replaced)
            touched.append(self._absorb(part, wall_ns))
        slots = np.unique(np.concatenate(touched))
        told.append(self._look_again(slots, now_ns, wall_ns, final=final))
        return told, slots

    def _look_again(
        self, slots: npt.NDArray[np.int64], now_ns: int, wall_ns: int, *, final: bool
    ) -> npt.NDArray[np.void]:
        """The rows of these slots, and forget those that are done with."""
        live = self._live
        slots = slots[live["observer"][slots] != 0]
        told = self._tell(slots, now_ns, wall_ns, is_over=False, final=final)
        is_late = (live["protocol"][slots] != _TCP) | (now_ns - live["last"][slots] >= KEPT_NS)
        self._release(slots[live["is_closed"][slots] & is_late])
        return told

    def _find(self, keys: Keys) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        position = np.searchsorted(self._keys, keys)
        found = position < len(self._keys)
        found[found] = self._keys[position[found]] == keys[found]
        return position, found

    def _live_of(self, seen: Sightings) -> npt.NDArray[np.int64]:
        position, found = self._find(seen["key"][_groups(seen["key"])[0]])
        return self._slots[position[found]]

    def _epochs(self, seen: Sightings) -> npt.NDArray[np.int64]:
        """For sightings in order of key: 0 of the connection from before, 1 of the next with the same tuple, ...

        A connection begins with a SYN whose sequence number is not that of before, where it is seen first; what is seen
        of its tuple from then on is its own.
        """
        epoch = np.zeros(len(seen), np.int64)
        starts = np.flatnonzero(begins(seen))
        position, found = self._find(seen["key"][starts])
        known = self._slots[position[found]]
        is_repeated = np.zeros(len(starts), np.bool_)
        is_repeated[found] = (self._live["isn"][known] == seen["isn"][starts[found]]) & (
            (self._live["sent"][known] & SYN) != 0
        )
        starts = starts[~is_repeated]
        if not len(starts):
            return epoch
        begin, group = _groups(seen["key"])
        number, which = np.unique(
            group[starts].astype(np.uint64) << np.uint64(32) | seen["isn"][starts], return_inverse=True
        )
        begun = np.full(len(number), _NEVER, np.int64)
        np.minimum.at(begun, which, seen["first"][starts])
        of = (number >> np.uint64(32)).astype(np.int64)
        since = np.full(len(begin), _NEVER, np.int64)
        np.minimum.at(since, of, begun)
        epoch[:] = seen["first"] >= since[group]
        for several in np.flatnonzero(np.bincount(of) > 1):
            rows = slice(*np.searchsorted(group, (several, several + 1)))
            epoch[rows] = np.searchsorted(np.sort(begun[of == several]), seen["first"][rows], side="right")
        return epoch

    def _absorb(self, seen: Sightings, wall_ns: int) -> npt.NDArray[np.int64]:
        """Add sightings in order of key to their connections; returns the slots of these, once each."""
        if not len(seen):
            return _NONE
        begin, group = _groups(seen["key"])
        position, found = self._find(seen["key"][begin])
        slots = np.empty(len(begin), np.int64)
        slots[found] = self._slots[position[found]]
        nearest = np.minimum.reduceat(seen["observer"], begin)
        slots[~found] = self._open(_picked(seen, begin[~found]), nearest[~found], position[~found])

        live, slot = self._live, slots[group]
        is_news = seen["is_known"] & ~live["is_known"][slot]
        for name in _NAT:
            live[name][slot[is_news]] = seen[name][is_news]
        live["is_known"][slot[is_news]] = True

        is_counted = seen["observer"] == live["observer"][slot]
        seen, slot = _picked(seen, np.flatnonzero(is_counted)), slot[is_counted]
        for is_way, packets, size, flags in (
            (~seen["is_reply"], "packets", "bytes", "sent"),
            (seen["is_reply"], "reply_packets", "reply_bytes", "answered"),
        ):
            np.add.at(live[packets], slot[is_way], seen["packets"][is_way])
            np.add.at(live[size], slot[is_way], seen["bytes"][is_way])
            np.bitwise_or.at(live[flags], slot[is_way], seen["flags"][is_way])
        live["is_replied"][slot[seen["is_reply"]]] = True
        np.maximum.at(live["last"], slot, seen["last"])
        np.minimum.at(live["first"], slot, seen["first"])
        has_isn = ~seen["is_reply"] & ((seen["flags"] & SYN) != 0)
        live["isn"][slot[has_isn]] = seen["isn"][has_isn]
        new = slots[~found]
        live["start"][new] = live["first"][new] + wall_ns
        live["flow_id"][new] = self._numbers.take(len(new), int(live["start"][new].max(initial=0)))
        return slots

    def _open(
        self, samples: Sightings, observers: npt.NDArray[np.uint64], position: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Take a slot for each sample's connection, whose key belongs at `position` of the sorted keys."""
        count = len(samples)
        if count > len(self._free):
            self._grow(count - len(self._free))
        slots, self._free = self._free[:count], self._free[count:]
        fresh = np.zeros(count, _LIVE)
        for name in (*_TUPLE, "protocol", "key"):
            fresh[name] = samples[name]
        fresh["observer"] = observers
        fresh["first"] = _NEVER
        _put(self._live, slots, fresh)
        self._keys = np.insert(self._keys, position, samples["key"])
        self._slots = np.insert(self._slots, position, slots)
        return slots

    def _grow(self, least: int) -> None:
        size = len(self._live)
        more = max(size, least)
        self._live = np.concatenate([self._live, np.zeros(more, _LIVE)])
        self._due = np.concatenate([self._due, np.full(more, _NEVER, np.int64)])
        self._free = np.concatenate([self._free, np.arange(size, size + more)])

    def _release(self, slots: npt.NDArray[np.int64]) -> None:
        if not len(slots):
            return
        position, _ = self._find(self._live["key"][slots])
        self._keys = np.delete(self._keys, position)
        self._slots = np.delete(self._slots, position)
        self._live["observer"][slots] = 0
        self._due[slots] = _NEVER
        self._free = np.concatenate([slots, self._free])

    def _tell(
        self, slots: npt.NDArray[np.int64], now_ns: int, wall_ns: int, *, is_over: bool, final: bool
    ) -> npt.NDArray[np.void]:
        """The rows of these connections; notes when to look at each again. `is_over`: they have ended in any case."""
        live = _picked(self._live, slots)
        state, is_done, limit = _state(live), _is_done(live), _idle_limit(live)
        ended = ~live["is_closed"] & (is_over | (now_ns - live["last"] >= np.where(is_done, QUIET_NS, limit)))
        outcome = np.where(live["settled"] == OPEN, _outcome(live, state, ended, now_ns), OPEN)

        is_tracked = np.isin(live["protocol"], (_TCP, _UDP))
        is_unsure = is_tracked & ~live["is_told"] & ~live["is_known"] & (now_ns - live["first"] < UNSURE_NS)
        is_ending = is_done & ~ended & ~live["is_closed"] & ~live["has_waited"]
        waits = (is_unsure | is_ending) & ~ended & (not final)
        is_news = ~live["is_told"] | ended | (outcome != OPEN)
        for name in _COUNTERS:
            is_news |= live[name] > 0
        is_news &= ~waits

        rows = np.zeros(len(live), ROW)
        for name in (*_TUPLE, *_COUNTERS, "protocol", "start", "flow_id"):
            rows[name] = live[name]
        rows["time"] = np.maximum(now_ns + wall_ns, live["start"])
        rows["outcome"], rows["opened"], rows["closed"] = outcome, ~live["is_told"], ended

        for name in _COUNTERS:
            live[name][is_news] = 0
        live["settled"] = np.where(is_news & (outcome != OPEN), outcome, live["settled"])
        live["is_told"] |= is_news
        live["is_closed"] |= is_news & ended
        live["has_waited"] = waits
        _put(self._live, slots, live)
        may_be_unanswered = (state == _SYN_SENT) & (live["settled"] == OPEN)
        self._due[slots] = np.select(
            [waits | (is_done & ~live["is_closed"]), live["is_closed"], may_be_unanswered],
            [now_ns, live["last"] + KEPT_NS, live["first"] + NO_REPLY_NS],
            live["last"] + limit,
        )
        return _picked(rows, np.flatnonzero(is_news))


def _slices(keys: Keys) -> Iterator[tuple[int, int]]:
    """Sorted keys in slices of about SLICE_ROWS that part no key: so a full table needs little memory at a time."""
    first = 0
    while first < len(keys):
        last = first + SLICE_ROWS
        last = int(np.searchsorted(keys, keys[last - 1], side="right")) if last < len(keys) else len(keys)
        yield first, last
        first = last


def _picked(rows: npt.NDArray[np.void], places: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
    """`rows[places]`, copied row by row: numpy's own way copies field by field, ten times slower."""
    picked: npt.NDArray[np.void] = rows.view(f"V{rows.itemsize}").take(places).view(rows.dtype)
    return picked


def _put(rows: npt.NDArray[np.void], places: npt.NDArray[np.int64], values: npt.NDArray[np.void]) -> None:
    """`rows[places] = values`, in the same way."""
    rows.view(f"V{rows.itemsize}")[places] = values.view(f"V{rows.itemsize}")


def _groups(keys: Keys) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Of sorted keys: where each distinct one begins, and the number of the group that each row is in."""
    is_first = np.ones(len(keys), np.bool_)
    is_first[1:] = keys[1:] != keys[:-1]
    return np.flatnonzero(is_first), np.cumsum(is_first) - 1


def _state(live: npt.NDArray[np.void]) -> npt.NDArray[np.uint8]:
    """The state in which conntrack would be (enum tcp_conntrack); of other protocols 0."""
    both, either = live["sent"] & live["answered"], live["sent"] | live["answered"]
    is_asking = ~live["is_replied"] & ((live["sent"] & SYN) != 0)
    state = np.select(
        [(either & RST) != 0, (both & FIN) != 0, (either & FIN) != 0, is_asking],
        [_CLOSE, _TIME_WAIT, _FIN_WAIT, _SYN_SENT],
        _ESTABLISHED,
    )
    return np.where(live["protocol"] == _TCP, state, 0).astype(np.uint8)


def _is_done(live: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    return np.isin(_state(live), (_TIME_WAIT, _CLOSE))


def _idle_limit(live: npt.NDArray[np.void]) -> npt.NDArray[np.int64]:
    """After how much silence a connection whose end was not seen counts as ended, in ns."""
    is_tcp, is_replied = live["protocol"] == _TCP, live["is_replied"]
    limits = [TCP_IDLE_NS, TCP_UNREPLIED_IDLE_NS, REPLIED_IDLE_NS]
    return np.select([is_tcp & is_replied, is_tcp, is_replied], limits, UNREPLIED_IDLE_NS)


def _outcome(
    live: npt.NDArray[np.void], state: npt.NDArray[np.uint8], ended: npt.NDArray[np.bool_], now_ns: int
) -> npt.NDArray[np.uint8]:
    """As `outcome.judge` judges a conntrack entry in the same state."""
    is_assured = ((live["sent"] & ACK) != 0) & ((live["answered"] & (ACK | SYN_ACK)) != 0)
    entries = np.zeros(len(live), ENTRY)
    for name in ("protocol", "dst_hi", "dst_lo"):
        entries[name] = live[name]
    entries["start"], entries["tcp_state"], entries["reply_packets"] = live["first"], state, live["is_replied"]
    entries["status"] = np.where(live["is_replied"], _SEEN_REPLY, 0) | np.where(is_assured, _ASSURED, 0)
    return judge(entries, ended, now_ns)
