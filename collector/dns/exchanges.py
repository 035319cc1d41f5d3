"""Questions paired with their answers: rows of the DNS table. Pure; memory is bounded.

The invariant: a question whose packet is told here is in exactly one exchange, answered or not, and a question that is
sent again before its answer comes is the same one. Each sending may be answered all the same: an answer that comes when
the exchange is over tells its addresses, and counts as none.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

import numpy as np

from ..schema import DNS, NO_ANSWER, UTF8
from .messages import Message

ANSWER_NS: Final = 5_000_000_000
"""How long an answer is waited for: what the usual resolvers do by default."""
LATE_NS: Final = 6 * ANSWER_NS
"""How long after its exchange is over an answer may come and be known for a late one."""
MAX_PENDING: Final = 65_536
"""Questions that may wait at once; the oldest then counts as not answered. Of as many more late answers are known."""

_MAPPED: Final = 0xFFFF << 32

Party = tuple[bytes, int, bytes, int, int]
"""Client's address (16 bytes) and port, server's address and port, protocol."""

_Key = tuple[Any, ...]
_Times = tuple[int, int]
"""When (ns since the epoch), and how often."""


class Exchanges:
    """Takes messages in the order in which they passed; `take` gives the rows of what is over."""

    def __init__(self) -> None:
        self._pending: OrderedDict[_Key, _Times] = OrderedDict()  # first asked at, sendings
        self._late: OrderedDict[_Key, _Times] = OrderedDict()  # over at, answers that may still come
        self._rows: list[tuple[Any, ...]] = []

    def add(self, message: Message, party: Party, time_ns: int) -> None:
        """A message between these two passed the client's interface at `time_ns` (ns since the epoch)."""
        key = (*party, message.number, message.name, message.kind)
        if not message.is_reply:
            asked_ns, sent = self._pending.get(key, (time_ns, 0))
            self._pending[key] = asked_ns, sent + 1
            if len(self._pending) > MAX_PENDING:
                self._give_up(*self._pending.popitem(last=False), time_ns)
            return
        asked = self._pending.pop(key, None)
        latency_ns, counts = 0, 1
        if asked is not None:
            latency_ns = max(0, time_ns - asked[0])
            self._expect(key, asked[1] - 1, time_ns)
        elif key in self._late:
            over_ns, expected = self._late.pop(key)
            self._expect(key, expected - 1, over_ns)
            counts = 0
        told = (time_ns, party, message.name, message.kind, message.rcode, latency_ns)
        if counts and not message.answers:
            self._rows.append((*told, 1, b"", 0))
        for number, answer in enumerate(message.answers):
            self._rows.append((*told, counts if number == 0 else 0, answer.address, answer.ttl_s))

    def take(self, now_ns: int) -> dict[str, np.ndarray[Any, Any] | list[str]]:
        """Rows of exchanges that ended since the last call, in columns of the DNS table."""
        for key, (asked_ns, sent) in _older(self._pending, now_ns, ANSWER_NS):
            self._give_up(key, (asked_ns, sent), now_ns)
        _older(self._late, now_ns, LATE_NS)
        rows, self._rows = self._rows, []
        return _columns(rows)

    def _give_up(self, key: _Key, asked: _Times, now_ns: int) -> None:
        self._rows.append((now_ns, key[:5], key[6], key[7], NO_ANSWER, max(0, now_ns - asked[0]), 1, b"", 0))
        self._expect(key, asked[1], now_ns)

    def _expect(self, key: _Key, answers: int, over_ns: int) -> None:
        """So many late answers may come of an exchange that is over."""
        if answers > 0:
            self._late[key] = over_ns, answers
            if len(self._late) > MAX_PENDING:
                self._late.popitem(last=False)


def _older(times: OrderedDict[_Key, _Times], now_ns: int, age_ns: int) -> list[tuple[_Key, _Times]]:
    """Take out what has that age, from the oldest on, and what a clock that was set back since has put far ahead."""
    taken = []
    while times and abs(now_ns - next(iter(times.values()))[0]) >= age_ns:
        taken.append(times.popitem(last=False))
    return taken


def halves(address: bytes) -> tuple[int, int]:
    """The wire's halves of an address of 4 or 16 bytes; 0, 0 of none."""
    if len(address) == 4:
        return 0, _MAPPED | int.from_bytes(address, "big")
    return int.from_bytes(address[:8], "big"), int.from_bytes(address[8:], "big")


def _columns(rows: list[tuple[Any, ...]]) -> dict[str, np.ndarray[Any, Any] | list[str]]:
    flat = [
        (time, *halves(client), *halves(server), protocol, name, kind, rcode, latency, first, *halves(answer), ttl)
        for time, (client, _, server, _, protocol), name, kind, rcode, latency, first, answer, ttl in rows
    ]
    columns = list(zip(*flat, strict=True)) or [() for _ in DNS.columns]
    return {
        name: list(values) if kind == UTF8 else np.array(values, kind)
        for (name, kind), values in zip(DNS.columns.items(), columns, strict=True)
    }
