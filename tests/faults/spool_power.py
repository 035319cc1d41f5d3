"""Lives of a collector's spool on a disk on which the power may be cut, and what the next life sends of what is left.

Whoever changes the disk is the thread that sends batches and answers for the bus, so a call has the same number in
every run. The invariant that is looked at: a batch that `send` has taken is sent by the next life unless the bus had
it or it was counted as lost; of one that was only just being written all is there or nothing.
"""

from __future__ import annotations

import os
import queue
import random
import shutil
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from collector.errors import TransientError
from collector.metrics import Metrics
from collector.schema import Batch
from collector.sinks import Settled
from collector.sinks.spool import SpoolSink
from tests.faults.ledger import Ledger
from tests.faults.lives import CALLS, Death, Dying, disturbed
from tests.faults.power import Power, Schedule, kind_of, leave

DISK_CALLS: Final = CALLS[:4]
"""Those of CALLS that are not the history's."""
BATCHES: Final = 12
ANSWER_SECONDS: Final = 60.0
SMALL_BYTES: Final = 6_000
"""A spool of so many bytes has room for a third of the batches."""
Name = tuple[int, int]


class Slow:
    """A bus that keeps batches until somebody answers for it, or is away."""

    is_away = False

    def __init__(self, on_settled: Settled) -> None:
        self.on_settled = on_settled
        self.came: queue.Queue[Batch] = queue.Queue()

    def start(self) -> None:
        if self.is_away:
            raise TransientError("nobody answers")

    def send(self, batch: Batch) -> None:
        self.came.put(batch)

    def flush(self, timeout_s: float) -> bool:
        return True

    def stop(self) -> None:
        """What is unanswered stays on the disk."""


class Away(Slow):
    """Nobody answers."""

    is_away = True


@dataclass
class Books:
    """What one life has done, up to its last call."""

    begun: dict[Name, Batch] = field(default_factory=dict)
    """Batches of which `send` was called."""
    owed: set[Name] = field(default_factory=set)
    """Of those, what it took and neither the bus has nor a counter of losses."""


def life(folder: Path, books: Books, kind: type[Slow], limit_bytes: int) -> None:
    """Send batches; of every three that the bus has been given it takes one, refuses one, and keeps one to itself."""
    ledger, buses = Ledger(12, rows=4, restarts=0.1, nodes=("node-a",)), list[Slow]()

    def make(on_settled: Settled) -> Slow:
        buses.append(kind(on_settled))
        return buses[0]

    class Counting(Metrics):
        def lost(self, table: str, rows: int, byte_sum: int, reason: str) -> None:
            books.owed.remove(min(books.owed))  # the oldest goes

    sink = SpoolSink(folder, Counting(), limit_bytes, make)
    try:
        sink.start()
        for number in range(BATCHES):
            made = ledger.batch()
            name = made.epoch, made.seq
            books.begun[name] = made
            books.owed.add(name)  # what it drops meanwhile is older; where it does not come back, this is taken out
            try:
                sink.send(made)
            except Death:
                books.owed.discard(name)
                raise
            if number % 3 < 2 and kind is Slow:
                given = buses[0].came.get(timeout=ANSWER_SECONDS)
                if is_taken := number % 3 == 0:
                    books.owed.discard((given.epoch, given.seq))
                buses[0].on_settled(given, is_taken)
    finally:
        sink.stop()


class Well(Slow):
    """Takes everything, and knows what."""

    def __init__(self, on_settled: Settled) -> None:
        super().__init__(on_settled)
        self.taken: list[Batch] = []

    def send(self, batch: Batch) -> None:
        self.taken.append(batch)
        self.on_settled(batch, True)


def unexplained_after(books: Books, folder: Path) -> Mapping[str, int]:
    """What the next life on that folder does not send, or sends and should not; nothing where all is well."""
    buses, metrics = list[Well](), Metrics()

    def make(on_settled: Settled) -> Well:
        buses.append(Well(on_settled))
        return buses[0]

    sink = SpoolSink(folder, metrics, 1 << 20, make)
    sink.start()
    is_sent = sink.flush(ANSWER_SECONDS)
    sink.stop()
    sent = Counter((batch.epoch, batch.seq) for batch in buses[0].taken)
    found = {
        "not sent at all": int(not is_sent),
        "owed and not sent": len(books.owed - sent.keys()),
        "sent and never made": len(sent.keys() - books.begun.keys()),
        "sent twice": sum(sent.values()) - len(sent),
        "not what was made": sum(books.begun.get((one.epoch, one.seq), one) != one for one in buses[0].taken),
        "damaged": int(metrics.value("spool_corrupt_segments_total")),
        "left behind": len([path for path in folder.rglob("*") if path.is_file()]),
    }
    return {what: count for what, count in found.items() if count}


LIVES: Final[Mapping[str, tuple[type[Slow], int]]] = {"slow": (Slow, 1 << 20), "full": (Away, SMALL_BYTES)}
"""What bus and how many bytes a life has."""


def cut_at(
    at: int, root: Path, name: str, *, is_done: bool, schedules: int, lived_on: int
) -> tuple[int, Counter[str]] | None:
    """The power is cut at a call: how many kinds of schedules were lived on, and what was unexplained; None where a
    life has no such call."""
    kind, limit_bytes = LIVES[name]
    books, dying = Books(), Dying(at, is_done=is_done)
    power = Power(root / "spool" / "flows", root / "aside")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("collector.sinks.spool._RETRY_S", (0.001, 0.002))
        with power.watching(), disturbed(dying, DISK_CALLS), suppress(Death):
            life(root / "spool", books, kind, limit_bytes)
        if not dying.is_dead:
            return None
        drawn = (power.cut(random.Random(1_000 * at + number)) for number in range(schedules))
        kinds: dict[Any, Schedule] = {kind_of(schedule): schedule for schedule in drawn}
        found = Counter[str]()
        patched.setattr(os, "fsync", lambda _: None)
        for number, schedule in enumerate(list(kinds.values())[:lived_on]):
            after = root / f"{number}"
            after.mkdir()
            leave(schedule, after / "flows")
            found.update(unexplained_after(books, after))
            shutil.rmtree(after)
    return min(len(kinds), lived_on), found
