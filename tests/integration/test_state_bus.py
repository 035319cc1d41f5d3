"""The cluster's state through a real bus: whoever starts late ends with what those know who were there all along."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from collector.metrics import Metrics
from collector.schema import STATE, Batch
from collector.sinks.files import FileSink
from collector.sinks.kafka import KafkaSink
from pipeline.bus import open_reader
from pipeline.cli.watch import newest_epoch
from pipeline.inventory.spans import END
from pipeline.inventory.watch.bodies import Known
from pipeline.inventory.watch.journal import Journal
from pipeline.inventory.watch.kinds import KINDS, Served
from pipeline.inventory.watch.objects import Change
from pipeline.outputs.meters import Meters
from pipeline.state import BusState, ClusterState
from tests.pipeline.inventory.changes import described
from tests.pipeline.shipments import SECOND
from tests.pipeline.small_cluster import OBJECTS, pod, service
from tests.pipeline.state_batches import WATCHER, Row, delete, mark, put, state, synced

BEGAN = time.time_ns()
"""Epochs count up from here: whatever an earlier test left on a shared broker is over."""


@dataclass
class StateBus:
    """One bus and the watcher's end of it."""

    url: str
    sink: FileSink | KafkaSink
    slot: int = 0

    def send(self, epoch: int, seq: int, rows: Sequence[Row]) -> None:
        self.sink.send(replace(state(BEGAN + epoch, seq, rows), slot=self.slot))
        self.slot += 1
        assert self.sink.flush(60)


@pytest.fixture(params=["file", pytest.param("kafka", marks=pytest.mark.kafka)])
def bus(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StateBus]:
    sink: FileSink | KafkaSink
    if request.param == "file":
        url = f"file://{tmp_path}"
        sink = FileSink(url, WATCHER, Metrics(), 2**30, (STATE,))
    else:
        url = f"kafka://{request.getfixturevalue('kafka_broker')}"
        sink = KafkaSink(url, Metrics(), 2**24)
    sink.start()
    yield StateBus(url, sink)
    sink.stop()


def shipped(bus: StateBus, batches: Sequence[Batch]) -> None:
    for batch in batches:
        bus.sink.send(batch)
    assert bus.sink.flush(60)


class Follower:
    """A pipeline's view of the state."""

    def __init__(self, bus: StateBus) -> None:
        self._state = BusState(open_reader(bus.url, None, [STATE.topic]))
        self._meters = Meters()

    def until(self, known_until: int, timeout_s: float = 60, but_not: int = END) -> ClusterState:
        """The state once everything before an instant is known, and not before another."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = self._state(self._meters)
            if found.is_synced and known_until <= found.known_until < but_not:
                return found
            assert time.monotonic() < deadline, "the state did not come in time"
            time.sleep(0.05)

    def close(self) -> None:
        self._state.stop()


def at(seconds: float) -> int:
    return BEGAN + int(seconds * SECOND)


STORY: Sequence[tuple[int, Sequence[Row]]] = (
    (0, [put(at(-60), item) for item in OBJECTS]),
    (0, [synced(at(0))]),
    (0, [delete(at(5), OBJECTS[3]), put(at(6), pod("next", "node-a", "10.0.1.5")), mark(at(10))]),
    (0, [put(at(11), service("late", "10.96.0.9", 80)), put(at(12), pod("gone", "node-b", "10.0.2.99")), mark(at(20))]),
    (1, [put(at(-60), item) for item in OBJECTS if item is not OBJECTS[3]]),
    (1, [put(at(6), pod("next", "node-a", "10.0.1.5")), put(at(11), service("late", "10.96.0.9", 80)), synced(at(30))]),
    (1, [delete(at(31), OBJECTS[6]), mark(at(40))]),
)
"""Epoch and rows of each batch. The second epoch begins after a gap, in which a pod was deleted."""


def test_whoever_starts_late_knows_what_those_know_who_were_there_all_along(bus: StateBus) -> None:
    with ExitStack() as stack:
        early = Follower(bus)
        stack.callback(early.close)
        seqs = [0, 0]
        for epoch, rows in STORY:
            bus.send(epoch, seqs[epoch], rows)
            seqs[epoch] += 1
            if marks := [row["time"] for row in rows if row["op"] == mark(0)["op"]]:
                early.until(marks[-1])
        late = Follower(bus)
        stack.callback(late.close)
        one, other = early.until(at(40)), late.until(at(40))
    assert described(one.snapshot) == described(other.snapshot)
    assert one.snapshot.objects == other.snapshot.objects
    assert one.snapshot.ranges.equals(other.snapshot.ranges)
    names = {row[-4]: seconds(row) for row in described(one.snapshot)["addresses"] if row[-5] == "Pod"}
    ends = {name: until for name, (_, until) in names.items()}
    assert ends == {"front-1-x": 5, "front-1-y": None, "database-0": None, "next": None, "gone": 30}
    assert names["next"][0] == 6


def test_a_watcher_after_one_whose_clock_was_ahead_is_believed_at_once_by_old_and_new_readers(bus: StateBus) -> None:
    shipped(bus, told_by(Journal(WATCHER, newest_epoch(bus.sink)), -10, OBJECTS))
    with ExitStack() as stack:
        early = Follower(bus)
        stack.callback(early.close)
        early.until(at(-9))
        shipped(bus, told_by(Journal(WATCHER, newest_epoch(bus.sink)), -3610, OBJECTS[:3]))
        late = Follower(bus)
        stack.callback(late.close)
        for follower in (early, late):
            objects = follower.until(at(-3609), but_not=at(-9)).snapshot.objects
            assert dict(objects) == {"Node": 2, "ReplicaSet": 1}


def told_by(journal: Journal, seconds: float, objects: Sequence[Any]) -> list[Batch]:
    """An epoch of all of it, and a mark a second later."""
    served = {kind.name: Served(kind, kind.versions[0]) for kind in reversed(KINDS)}
    changes = []
    for row in (put(0, item) for item in objects):
        known = Known(row["namespace"], row["name"], row["uid"], row["body"].encode())
        changes.append(Change(at(seconds), "put", served[row["kind"]], known))
    return [*journal.begin(at(seconds), changes), *journal.extend([], at(seconds + 1))]


def seconds(row: tuple[Any, ...]) -> tuple[float, float | None]:
    since, until = row[2], row[3]
    return (since - BEGAN) / SECOND, (until - BEGAN) / SECOND if until < 2**62 else None
