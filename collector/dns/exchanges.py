"""Questions paired with their answers: rows of the DNS table. Pure; memory is bounded.

The invariant: a question whose packet is told here is in exactly one exchange, answered or not, and a question that is
sent again before its answer comes is the same one.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

import numpy as np

from ..schema import DNS, NO_ANSWER, UTF8
from .messages import Message

ANSWER_NS: Final = 5_000_000_000
"""How long an answer is waited for: what the usual resolvers do by default."""
MAX_PENDING: Final = 65_536
"""Questions that may wait at once; the oldest then counts as not answered."""

_MAPPED: Final = 0xFFFF << 32

Party = tuple[bytes, int, bytes, int, int]
"""Client's address (16 bytes) and port, server's address and port, protocol."""


class Exchanges:
    """Takes messages in the order in which they passed; `take` gives the rows of what is over."""

    def __init__(self) -> None:
        self._pending: OrderedDict[tuple[Any, ...], int] = OrderedDict()
        self._rows: list[tuple[Any, ...]] = []

    def add(self, message: Message, party: Party, time_ns: int) -> None:
        """A message between these two passed the client's interface at `time_ns` (ns since the epoch)."""
        key = (*party, message.number, message.name, message.kind)
        if not message.is_reply:
            if key not in self._pending:
                self._pending[key] = time_ns
            if len(self._pending) > MAX_PENDING:
                self._give_up(*self._pending.popitem(last=False), time_ns)
            return
        asked_ns = self._pending.pop(key, None)
        latency_ns = max(0, time_ns - asked_ns) if asked_ns is not None else 0
        told = (time_ns, party, message.name, message.kind, message.rcode, latency_ns)
        self._rows.append((*told, 1, b"", 0))
        if message.answers:
            self._rows.pop()
            for number, answer in enumerate(message.answers):
                self._rows.append((*told, int(number == 0), answer.address, answer.ttl_s))

    def take(self, now_ns: int) -> dict[str, np.ndarray[Any, Any] | list[str]]:
        """Rows of exchanges that ended since the last call, in columns of the DNS table."""
        while self._pending:
            key, asked_ns = next(iter(self._pending.items()))
            if now_ns - asked_ns < ANSWER_NS:
                break
            del self._pending[key]
            self._give_up(key, asked_ns, now_ns)
        rows, self._rows = self._rows, []
        return _columns(rows)

    def _give_up(self, key: tuple[Any, ...], asked_ns: int, now_ns: int) -> None:
        self._rows.append((now_ns, key[:5], key[6], key[7], NO_ANSWER, max(0, now_ns - asked_ns), 1, b"", 0))


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
