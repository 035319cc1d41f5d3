"""Short runs with one kind of trouble each, from a collector's spool to metrics and history, and what they leave
unexplained: nothing, unless there is a mistake in the code.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from collector.metrics import Metrics
from collector.schema import FLOWS, Batch
from collector.sinks import Settled
from collector.sinks.spool import SpoolSink
from pipeline import engine
from pipeline.bus import Partition
from pipeline.errors import OustedError, PermanentError
from pipeline.lake.store import Store
from pipeline.snapshots.folder import SnapshotFolder
from tests.faults.fellows import Fellow, FellowReader, Group
from tests.faults.ledger import Ledger, Lost, reconcile
from tests.faults.lives import Death, Disk, Disturbed, Dying, disturbed, live
from tests.faults.stream import Log, LogReader, disordered

FENCES: Final = 3
"""A life begins with so many commits to tables."""
COMMITS: Final = ((Store, "commit"),)
RENAMES: Final = ((Path, "rename"),)
"""By which a snapshot that is prepared becomes the one that counts."""
Unexplained = Mapping[str, int]


def new_disk(root: Path) -> Disk:
    return Disk(root, Ledger(3, rows=6, restarts=0.1), left=16, flush_rows=15, again=0.3)


def two_lives(root: Path) -> Unexplained:
    """One ends in order, the other goes on."""
    disk = new_disk(root)
    live(disk, until=8)
    live(disk)
    return disk.account().unexplained


def dies(calls: Any, at: int, *, is_done: bool) -> Callable[[Path], Unexplained]:
    """A life dies at a call."""

    def trial(root: Path) -> Unexplained:
        disk = new_disk(root)
        live(disk, until=13)
        dying = Dying(at, is_done=is_done)
        with disturbed(dying, calls), pytest.raises(Death):
            live(disk, until=3)
        live(disk)
        return disk.account().unexplained

    return trial


def wakes(root: Path) -> Unexplained:
    """A life sleeps right before a settle while another takes over."""
    disk = new_disk(root)

    def succeed() -> None:
        disk.forget_locks()
        live(disk, until=4)

    zombie = Disturbed(FENCES + 1, is_done=False, disturb=succeed)
    with disturbed(zombie, COMMITS), suppress(PermanentError):
        live(disk, until=2)
    assert zombie.calls > FENCES + 1
    live(disk)
    return disk.account().unexplained


def refused(*, is_done: bool) -> Callable[[Path], Unexplained]:
    """The disk refuses a commit to a table; or takes it and says that it does not."""

    def refuse() -> None:
        raise OSError(28, "no space left on device")

    def trial(root: Path) -> Unexplained:
        disk = new_disk(root)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(engine, "BACK_OFF_SECONDS", (0.01, 0.02))
            with disturbed(Disturbed(FENCES + 1, is_done=is_done, disturb=refuse), COMMITS):
                live(disk)
        return disk.account().unexplained

    return trial


def power_cut(root: Path) -> Unexplained:
    """After the history has a settle and before its snapshot counts the power goes: what was not synced is torn."""
    disk = new_disk(root)
    synced: set[int] = set()
    sync = os.fsync

    def noted(opened: int) -> None:
        sync(opened)
        synced.add(os.fstat(opened).st_ino)

    dying = Dying(FENCES + 1, is_done=True)
    with pytest.MonkeyPatch.context() as patched, disturbed(dying, COMMITS):
        patched.setattr(os, "fsync", noted)
        with pytest.raises(Death):
            live(disk, until=3)
    tear(disk.root / "snapshot", synced)
    live(disk)
    return disk.account().unexplained


def tear(folder: Path, synced: set[int]) -> None:
    """Cut what was not synced in half."""
    for path in folder.rglob("*.*"):
        if path.is_file() and path.stat().st_ino not in synced:
            os.truncate(path, path.stat().st_size // 2)


def disorder(root: Path) -> Unexplained:
    """Twice, out of order and late, over two lives."""
    disk = new_disk(root)
    log, chance = Log(), random.Random(5)
    for batch in disordered((disk.ledger.batch() for _ in range(60)), chance, again=0.3, apart=16, delayed=40):
        log.put(batch)
    disk.ledger.again = sum(map(len, log.kept.values())) - 60
    disk.left = 0
    whole = {key: messages[:] for key, messages in log.kept.items()}
    for messages in log.kept.values():
        del messages[len(messages) // 2 :]
    live(disk, reader=LogReader(log))
    log.kept.update(whole)
    live(disk, reader=LogReader(log))
    return disk.account(is_ordered=False).unexplained


class Fellows:
    """Two members of a group, and what comes on two partitions, the first third of it at first."""

    def __init__(self, root: Path) -> None:
        self.ledger, whole, chance = Ledger(7, rows=6, restarts=0.1), Log(), random.Random(7)
        for batch in disordered((self.ledger.batch() for _ in range(30)), chance, again=1.0, apart=12, delayed=20):
            whole.put(batch)
        self.ledger.again = sum(map(len, whole.kept.values())) - 30
        self._whole = {partition: messages[:] for partition, messages in whole.kept.items()}
        self.group = Group(whole)
        self.first, self.second = sorted(whole.kept)
        self.one, self.other = (
            Fellow(root / name, self.ledger, left=1, name=name, flush_rows=6, everybody=root) for name in ("a", "b")
        )
        self.give(one=(self.first, self.second))
        self.ship(1)

    def ship(self, thirds: int) -> None:
        """So much is there by now of what comes."""
        for partition, messages in self._whole.items():
            self.group.log.kept[partition] = messages[: thirds * len(messages) // 3]

    def give(self, one: tuple[Partition, ...] = (), other: tuple[Partition, ...] = ()) -> None:
        """The group divides partitions so."""
        self.group.wanted = {"a": frozenset(one), "b": frozenset(other)}

    def all_read(self, reader: FellowReader) -> Iterator[None]:
        """Read what the group has given to its end."""
        while not reader.held or not reader.caught_up():
            yield

    def unexplained(self) -> Unexplained:
        """What both have told, and the history, against the ledger."""
        page = "".join(member.publication.text().decode() for member in (self.one, self.other))
        fallen = len(self.one.fallen) + len(self.other.fallen)
        return reconcile(self.ledger, page, self.one.lake, is_ordered=False, fallen=fallen).unexplained


def handed_over(root: Path) -> Unexplained:
    """One gives a partition up, another reads on, and gives it back."""
    them = Fellows(root)

    def gives_up(reader: FellowReader) -> Iterator[None]:
        yield from them.all_read(reader)
        them.give(one=(them.first,), other=(them.second,))
        while reader.held != frozenset({them.first}):
            yield

    them.one.live(them.group, gives_up)
    them.ship(2)
    them.other.live(them.group, them.all_read)
    them.give(one=(them.first, them.second))
    them.ship(3)
    them.one.live(them.group, them.all_read)
    return them.unexplained()


def ousted(root: Path) -> Unexplained:
    """The group goes on without one that then counts more than it has settled; it begins anew."""
    them = Fellows(root)

    def sleeps(reader: FellowReader) -> Iterator[None]:
        yield from them.all_read(reader)
        them.group.ousted.add("a")
        them.ship(2)
        yield from them.all_read(reader)

    with suppress(OustedError):
        them.one.live(them.group, sleeps)
    them.give(one=(them.first,), other=(them.second,))
    them.ship(3)
    them.other.live(them.group, them.all_read)
    them.one.live(them.group, them.all_read)
    return them.unexplained()


def dies_agreeing(calls: Any) -> Callable[[Path], Unexplained]:
    """One dies at some snapshot before that call, and others go on with a partition of it; what was read is gone from
    the bus by then."""

    def trial(root: Path) -> Unexplained:
        them = Fellows(root)
        them.ship(3)
        them.one.flush_rows = 1_000  # else every other snapshot is the history's
        with disturbed(Dying(4, is_done=False), calls), pytest.raises(Death):
            them.one.live(them.group, them.all_read)
        them.give(one=(them.first,), other=(them.second,))
        them.other.live(them.group, them.all_read)
        them.group.is_kept = False
        them.one.live(them.group, them.all_read)
        return them.unexplained()

    return trial


def last_snapshot_gone(root: Path) -> Unexplained:
    """One dies, somebody deletes its last snapshot, and others go on with a partition of it."""
    them = Fellows(root)
    them.one.flush_rows = 1_000  # else every other snapshot is the history's

    def dies(reader: FellowReader) -> Iterator[None]:
        yield from them.all_read(reader)
        raise Death

    with suppress(Death):
        them.one.live(them.group, dies)
    them.ship(3)
    max(them.one.root.rglob("*.snapshot")).unlink()
    them.one.most.clear()  # nothing tells that more was shown
    them.give(one=(them.first,), other=(them.second,))
    them.other.live(them.group, them.all_read)
    them.one.live(them.group, them.all_read)
    return them.unexplained()


class Moody:
    """A bus that refuses every third batch once, and keeps some answers to itself until it stops."""

    def __init__(self, disk: Disk, on_settled: Settled) -> None:
        self._disk = disk
        self._on_settled = on_settled
        self._seen: set[tuple[int, int]] = set()
        self._unanswered: list[Batch] = []

    def start(self) -> None:
        """It is there."""

    def send(self, batch: Batch) -> None:
        name = (batch.epoch, batch.seq)
        if batch.seq % 3 == 0 and name not in self._seen:
            self._seen.add(name)
            self._on_settled(batch, False)
        elif batch.seq % 10 == 9:
            self._unanswered.append(batch)
        else:
            self._disk.put(batch, 1)
            self._on_settled(batch, True)

    def flush(self, timeout_s: float) -> bool:
        return True

    def stop(self) -> None:
        for batch in self._unanswered:
            self._on_settled(batch, False)
        self._unanswered.clear()


class Away(Moody):
    """A bus that takes nothing."""

    def send(self, batch: Batch) -> None:
        self._on_settled(batch, False)


def spooled(root: Path) -> Unexplained:
    """A spool with a moody bus, a second agent, and one after it whose bus is well."""
    return _spooled(root, 1 << 20, (Moody, Moody, Disk))


def spool_full(root: Path) -> Unexplained:
    """A spool that is too small while the bus is away; what it drops is counted."""
    return _spooled(root, 20_000, (Away, Disk))


def spool_refused(root: Path) -> Unexplained:
    """The disk refuses some segments; they go straight to the bus."""

    def refuse() -> None:
        raise OSError(28, "no space left on device")

    with disturbed(Disturbed(6, is_done=False, disturb=refuse), RENAMES):
        return _spooled(root, 1 << 20, (Disk, Disk))


def _spooled(root: Path, limit: int, buses: tuple[type, ...]) -> Unexplained:
    disk, metrics = Disk(root, Ledger(4, restarts=0, nodes=("node-a",)), left=0), Metrics()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("collector.sinks.spool._RETRY_S", (0.001, 0.002))
        for kind in buses:

            def make(on_settled: Settled, kind: type = kind) -> Any:
                return Well(disk, on_settled) if kind is Disk else kind(disk, on_settled)

            sink = SpoolSink(root / "spool", metrics, limit, make)
            sink.start()
            for _ in range(20):
                sink.send(disk.ledger.batch())
            sink.flush(60 if kind is Disk else 0.1)
            sink.stop()
    live(disk)
    reasons = ("spool_full", "spool_error", "spool_corrupt")
    rows, size = (
        int(sum(metrics.value(f"lost_{what}_total", table=FLOWS.name, reason=reason) for reason in reasons))
        for what in ("rows", "bytes")
    )
    return disk.account(Lost(rows, size)).unexplained


class Well(Moody):
    """A bus that takes everything."""

    def send(self, batch: Batch) -> None:
        self._disk.put(batch, 1)
        self._on_settled(batch, True)


TRIALS: Final[Mapping[str, Callable[[Path], Unexplained]]] = {
    "two lives": two_lives,
    "dies before the history": dies(COMMITS, FENCES, is_done=False),
    "dies after the history": dies(COMMITS, FENCES, is_done=True),
    "dies before a snapshot": dies(RENAMES, 1, is_done=False),
    "dies after a snapshot": dies(RENAMES, 1, is_done=True),
    "wakes": wakes,
    "refused": refused(is_done=False),
    "answer lost": refused(is_done=True),
    "power cut": power_cut,
    "disorder": disorder,
    "handed over": handed_over,
    "ousted": ousted,
    "dies before the group agrees": dies_agreeing(((SnapshotFolder, "prepare"),)),
    "dies when the group has agreed": dies_agreeing(RENAMES),
    "last snapshot gone": last_snapshot_gone,
    "spooled": spooled,
    "spool full": spool_full,
    "spool refused": spool_refused,
}
