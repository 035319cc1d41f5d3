"""The engine while the cluster changes: what waits, what is committed meanwhile, and what flows are named by."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import engine as engine_module
from pipeline.bus import Message
from pipeline.inventory.feed import Feed
from pipeline.inventory.history import History
from pipeline.outputs.lake import Lake
from pipeline.outputs.meters import Meters
from pipeline.query import scan_flows
from pipeline.state import BusState, ClusterState
from tests.pipeline.engine_bench import DATABASE_VIP, FRONT_A, Bench, ScriptedReader, wait_until
from tests.pipeline.shipments import NOW, SECOND, batch, flow, message
from tests.pipeline.small_cluster import OBJECTS, pod
from tests.pipeline.state_batches import delete, mark, put, state, synced

DATABASE = "10.0.2.7"
NEW = "10.0.1.9"


@pytest.fixture(autouse=True)
def _impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "BACK_OFF_SECONDS", (0.001, 0.01))


class Watched(Bench):
    """An engine whose state comes on a scripted bus of its own; the cluster is known until NOW."""

    def __init__(self, *polls: list[Message] | Exception, wait_s: float = 60.0, flush_s: float = 3600.0, **more: Any):
        super().__init__(*polls, **more)
        self.seq = 0
        self.bus = ScriptedReader()
        self.source = BusState(self.bus)
        config = replace(self.engine._config, state_wait_s=wait_s, lake_flush_s=flush_s)
        self.engine = engine_module.Engine(config, self.reader, self.source, self.publication, self.engine._lake)

    def tell(self, *rows: dict[str, Any], epoch: int = 1) -> None:
        """The watcher sends a batch."""
        self.bus.polls.append([message(state(epoch, self.seq, rows))])
        self.bus.polls.append([])
        self.seq += 1

    def tell_all(self, *objects: dict[str, Any]) -> None:
        self.tell(*(put(NOW - 100 * SECOND, item) for item in (*OBJECTS, *objects)), synced(NOW))

    def held(self) -> float:
        self.engine.publish()
        return self.values("flowatlas_state_held_rows")[()]

    def connections(self) -> dict[tuple[str, ...], float]:
        self.engine.publish()
        return self.values("flowatlas_connections_total", "source_workload", "destination_workload")


def at(seconds: float, seq: int, src: str = FRONT_A) -> Message:
    """A connection through the database's Service that began so long after NOW."""
    return message(
        batch("node-a", seq, [flow(src, DATABASE_VIP, 5432, backend=DATABASE, start=NOW + int(seconds * SECOND))])
    )


def test_a_flow_waits_until_the_state_is_known_of_its_time_and_holds_the_commit_back() -> None:
    bench = Watched([at(-5, 0), at(1, 1)], [], [])
    bench.tell_all()
    bench.engine.step(0)
    assert (bench.connections(), bench.held(), bench.reader.commits) == ({("front", "database"): 1}, 1, 0)
    bench.engine.step(0)
    assert (bench.held(), bench.reader.commits) == (1, 0)
    bench.tell(mark(NOW + 2 * SECOND))
    bench.engine.step(0)
    assert (bench.connections(), bench.held(), bench.reader.commits) == ({("front", "database"): 2}, 0, 1)
    assert bench.values("flowatlas_state_late_rows_total") == {(): 0}


def test_a_flow_is_named_by_who_held_the_address_when_it_began() -> None:
    """The address goes from one pod to another at second 10; the flows come in another order and late."""
    bench = Watched([at(5, 0, NEW), at(15, 1, NEW)], [at(9, 2, NEW)])
    bench.tell_all(pod("early", "node-a", NEW))
    bench.engine.step(0)
    second = pod("later", "node-a", NEW)
    bench.tell(
        delete(NOW + 10 * SECOND, pod("early", "node-a", NEW)), put(NOW + 10 * SECOND, second), mark(NOW + 30 * SECOND)
    )
    bench.engine.step(0)
    bench.drain()
    assert bench.connections() == {("early", "database"): 2, ("later", "database"): 1}


def test_a_flow_of_a_pod_that_is_not_told_of_yet_is_named_when_it_is() -> None:
    bench = Watched([at(1, 0, NEW)], wait_s=3)
    bench.tell_all()
    bench.tell(mark(NOW + 2 * SECOND))
    bench.engine.step(0)
    assert (bench.connections(), bench.held()) == ({}, 1)
    made = {**pod("fresh", "node-a", NEW)}
    made["metadata"] = {**made["metadata"], "creationTimestamp": "2026-03-01T12:00:00Z"}
    bench.tell(put(NOW + 3 * SECOND, made), mark(NOW + 5 * SECOND))
    bench.drain()
    assert bench.connections() == {("fresh", "database"): 1}
    assert bench.reader.committed == bench.reader.polled


def test_a_watcher_that_is_away_blocks_nothing_for_good(tmp_path: Path) -> None:
    nobody = message(batch("node-a", 1, [flow(FRONT_A, "10.0.2.99", 80, start=NOW + 2 * SECOND)]))
    bench = Watched([at(1, 0), nobody], wait_s=0.05, lake=Lake(tmp_path))
    bench.tell_all()
    bench.drain()
    assert bench.connections() == {("front", "database"): 1, ("front", "unknown"): 1}
    assert bench.values("flowatlas_state_late_rows_total") == {(): 2}
    assert scan_flows(tmp_path).collect().height == 2
    assert bench.reader.committed == bench.reader.polled


def test_polling_pauses_rather_than_that_nothing_is_ever_committed() -> None:
    """With every poll comes a row that must wait: without a pause there would always be one."""
    polls = [[at(100 + n, n)] for n in range(200)]
    bench = Watched(*polls, wait_s=0.3, flush_s=0.05)
    bench.tell_all()
    steps = 0
    while bench.reader.commits < 1 and steps < 1000:
        bench.engine.step(0.01)
        steps += 1
    assert 0 < len(bench.reader.committed) < 200
    bench.drain()
    assert bench.connections() == {("front", "database"): 200}


def test_nothing_is_polled_and_nobody_is_ready_before_the_state_is_known() -> None:
    bench = Watched([at(-5, 0)])
    stop = threading.Event()
    runner = threading.Thread(target=bench.engine.run, args=(stop,))
    runner.start()
    try:
        bench.tell(*(put(NOW, item) for item in OBJECTS))
        wait_until(lambda: not bench.bus.polls)
        assert not bench.engine.ready.wait(0.3)
        assert bench.reader.polled == []
        bench.tell(synced(NOW))
        wait_until(bench.engine.ready.is_set)
    finally:
        stop.set()
        runner.join()
    assert bench.connections() == {("front", "database"): 1}


def test_a_change_elsewhere_costs_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids keep their meaning, so what was named once is not named again."""
    bench = Watched([at(-5, 0)], [at(-5, 1)])
    bench.tell_all()
    bench.engine.step(0)
    bench.engine.publish()  # names are wanted for what is shown
    named: list[int] = []
    name = bench.engine._stages._flows._name

    def counted(ids: Any) -> Any:
        named.append(ids.height)
        return name(ids)

    monkeypatch.setattr(bench.engine._stages._flows, "_name", counted)
    bench.tell(put(NOW, pod("other", "node-b", "10.0.2.20")))
    bench.engine.step(0)
    bench.drain()
    assert bench.connections() == {("front", "database"): 2}
    assert named == []


def test_a_flawed_state_batch_is_set_aside() -> None:
    bench = Watched([at(-5, 0)])
    bad = message(state(1, 5, []), value=b"")
    bench.bus.polls.append([bad])
    bench.tell_all()
    bench.drain()
    assert bench.bus.quarantined == [(bad, "truncated")]
    assert bench.values("flowatlas_pipeline_quarantined_batches_total", "reason") == {("truncated",): 1}
    assert bench.values("flowatlas_pipeline_rows_total", "table") == {("flows",): 1, ("state",): len(OBJECTS) + 1}


def test_objects_refused_and_batches_missing_are_told() -> None:
    bench = Watched()
    bench.tell_all()
    bench.seq += 3
    bench.tell({**put(NOW, OBJECTS[3]), "body": "{}"}, mark(NOW + SECOND))
    bench.engine.step(0)
    bench.drain()
    assert bench.values("flowatlas_state_refused_objects", "kind") == {("Pod",): 1}
    assert bench.values("flowatlas_pipeline_missing_batches_total", "node") == {("cluster-watcher",): 3}
    (age,) = bench.values("flowatlas_state_age_seconds").values()
    assert age > 0


def cluster_states(source: BusState) -> Iterator[ClusterState]:
    meters = Meters()
    while True:
        yield source(meters)


def test_feeds_and_states_agree() -> None:
    """What the engine is given is what the history knows."""
    history = History()
    source = BusState(ScriptedReader([message(state(1, 0, [synced(NOW)]))]), history)
    first = next(cluster_states(source))
    assert (first.is_synced, first.known_until, first.snapshot) == (True, NOW, history.snapshot())
    assert list(first.epochs) == list(history.policy_epochs())
    assert Feed(history).refused == {}
