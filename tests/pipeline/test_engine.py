"""The engine's loop: what it waits for, sets aside and puts off, and what it does when bus or disk refuse."""

from __future__ import annotations

import json
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from pipeline import engine as engine_module
from pipeline import stages as stages_module
from pipeline.aggregate.samples import Samples
from pipeline.attribution.aliases import may_be_alias
from pipeline.bus import Message
from pipeline.cli.main import main
from pipeline.errors import PermanentError, TransientError
from pipeline.inventory.snapshot import Snapshot
from pipeline.outputs.lake import Lake
from pipeline.query import scan_flows
from pipeline.state import ClusterState
from tests.pipeline.attribution import dns_answers
from tests.pipeline.engine_bench import (
    DATABASE,
    FRONT_A,
    FRONT_B,
    Bench,
    ScriptedReader,
    through_service,
    wait_until,
)
from tests.pipeline.shipments import NOW, SECOND, batch, flow, message
from tests.pipeline.small_cluster import OBJECTS, service, small_cluster


@pytest.fixture(autouse=True)
def _impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "BACK_OFF_SECONDS", (0.001, 0.01))


def test_unreadable_messages_are_set_aside_by_reason_and_the_rest_is_applied() -> None:
    good = through_service()
    corrupt = message(batch("node-a", 1, [flow(FRONT_A, FRONT_B, 80)]), value=good.value[:-1] + b"x")
    broken = message(batch("node-a", 2, []), flaw="segment", value=b"")
    bench = Bench([corrupt, good, broken])
    bench.drain()
    assert bench.values("flowatlas_connections_total") == {(): 1}
    assert bench.reader.quarantined == [(corrupt, "checksum"), (broken, "segment")]
    reasons = bench.values("flowatlas_pipeline_quarantined_batches_total", "reason")
    assert reasons == {("checksum",): 1, ("segment",): 1}


class Polled(list[Message]):
    """What a poll brings; unlike other lists it can be asked whether it is still held."""


def test_nothing_that_was_polled_is_held_while_it_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(Polled([through_service()]))
    polled = weakref.ref(bench.reader.polls[0])
    is_held: list[bool] = []

    def publish(_: Sequence[Samples]) -> None:
        is_held.append(polled() is not None)

    monkeypatch.setattr(bench.publication, "publish", publish)
    time.sleep(0.06)  # longer than a window
    bench.engine.step(0.0)
    assert is_held == [False]


def test_a_bus_that_refuses_for_a_while_costs_nothing() -> None:
    """start, poll, quarantine and commit each fail before they go through; all is counted once."""
    away = TransientError("nobody answers")
    bad = message(batch("node-a", 1, []), value=b"")
    bench = Bench(away, [bad, through_service(0)], away, [through_service(2)])
    for refusals in bench.reader.refusals.values():
        refusals.extend([away, away])
    stop = threading.Event()
    runner = threading.Thread(target=lambda: codes.append(bench.engine.run(stop)))
    codes: list[int] = []
    runner.start()
    try:
        wait_until(lambda: len(bench.reader.committed) == 3)
    finally:
        stop.set()
        runner.join()
    assert codes == [0]
    assert bench.reader.stopped
    assert bench.values("flowatlas_connections_total") == {(): 2}
    assert [reason for _, reason in bench.reader.quarantined] == ["truncated"]


def test_stop_during_start_ends_without_touching_the_bus() -> None:
    bench = Bench([through_service()])
    bench.reader.refusals["start"].extend([TransientError("nobody answers")] * 1000)
    stop = threading.Event()
    stop.set()
    assert bench.engine.run(stop) == 0
    assert bench.reader.polled == []
    assert not bench.engine.ready.is_set()


def test_a_drain_that_cannot_finish_says_so() -> None:
    bench = Bench([through_service()])
    bench.reader.refusals["commit"].extend([TransientError("nobody answers")] * 1000)
    assert bench.engine.drain(timeout_s=0.05) is False
    assert bench.values("flowatlas_connections_total") == {(): 1}


@pytest.mark.parametrize("slow_s", [0.0, 0.25])
def test_a_connection_waits_for_the_dns_name_that_may_tell_its_service(
    monkeypatch: pytest.MonkeyPatch, slow_s: float
) -> None:
    """The answer is on the bus a poll after the connection; one that no alias has the port of does not wait for it.
    What a slow step takes after its poll is no waiting: the answer may be on the bus by then."""
    site, now_s = "203.0.113.7", NOW // SECOND
    answer = dns_answers.Answer("mail.shop.svc.cluster.local", now_s - 1, FRONT_A, site)
    late = message(dns_answers.batch_of([answer]))
    old = flow(FRONT_A, site, 25, start=NOW - 5 * SECOND)
    flows = message(batch("node-a", 0, [flow(FRONT_A, site, 25), flow(FRONT_A, site, 443), old]))
    bench = Bench([flows], [late], wait_s=1.5)
    bench.state = ClusterState(small_cluster(service("mail", "", 25, type="ExternalName", externalName="x.org")), {})

    def slowly(flows: pl.DataFrame, snapshot: Snapshot) -> pl.Series:
        time.sleep(slow_s)
        return may_be_alias(flows, snapshot)

    monkeypatch.setattr(stages_module, "may_be_alias", slowly)
    bench.engine.step(0)
    bench.engine.publish()
    assert bench.values("flowatlas_connections_total", "service") == {("",): 2}
    bench.drain()
    assert bench.values("flowatlas_connections_total", "service") == {("",): 2, ("mail",): 1}


def test_the_name_is_found_also_while_a_commit_is_overdue(tmp_path: Path) -> None:
    """What is polled for it meanwhile is not committed with what came before, and is counted after."""
    site, now_s = "203.0.113.7", NOW // SECOND
    answer = dns_answers.Answer("mail.shop.svc.cluster.local", now_s - 1, FRONT_A, site)
    first = message(batch("node-a", 0, [flow(FRONT_A, site, 25)]))
    behind = [message(dns_answers.batch_of([answer])), through_service(1)]
    bench = Bench([first], lake=Lake(tmp_path), wait_s=1.5, flush_s=0.05)
    bench.state = ClusterState(small_cluster(service("mail", "", 25, type="ExternalName", externalName="x.org")), {})
    bench.engine.step(0)
    time.sleep(0.06)
    bench.reader.polls.append(behind)
    while not bench.reader.commits:
        bench.engine.step(0)
    assert (bench.reader.committed, bench.reader.polls) == ([first], deque())
    assert scan_flows(tmp_path).select("service").collect().rows() == [("mail",)]
    bench.drain()
    assert bench.reader.committed == [first, *behind]
    assert sorted(scan_flows(tmp_path).select("service").collect().rows()) == [("database",), ("mail",)]


def test_what_is_put_off_while_a_commit_is_overdue_is_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """However much the bus holds meanwhile, and all of it is counted in the end."""
    monkeypatch.setattr(engine_module, "AHEAD_ROWS", 3)
    waiting = message(batch("node-a", 0, [flow(FRONT_A, "203.0.113.7", 25)]))
    bench = Bench([waiting], lake=Lake(tmp_path), wait_s=1.5, flush_s=0.05)
    bench.state = ClusterState(small_cluster(service("mail", "", 25, type="ExternalName", externalName="x.org")), {})
    bench.engine.step(0)
    time.sleep(0.06)
    bench.reader.polls.extend([through_service(seq)] for seq in range(1, 15))
    while not bench.reader.commits:
        assert len(bench.reader.polled) <= 1 + 3
        bench.engine.step(0)
    assert bench.reader.committed[0] is waiting
    bench.drain()
    assert len(bench.reader.committed) == 15
    assert scan_flows(tmp_path).collect().height == 15


def test_a_bus_that_refuses_for_good_ends_the_run_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(OBJECTS)}))
    reader = ScriptedReader(PermanentError("bus: not authorized"))
    monkeypatch.setattr("pipeline.bus.open_reader", lambda *_: reader)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    settings = ("--bus", "file:///unused", "--state", str(tmp_path), "--listen", "127.0.0.1:0")
    assert main(["pipeline", *settings]) == 1
    assert reader.stopped


class Waits(threading.Event):
    """A stop that waits for nothing and notes how long each wait would have been; it comes after so many."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.waited: list[float] = []
        self._most = most

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout or 0.0)
        if len(self.waited) == self._most:
            self.set()
        return self.is_set()


def test_steps_rest_while_the_bus_is_empty_and_never_while_it_holds_more() -> None:
    bench = Bench(*([message(batch("node1", seq, [flow(FRONT_A, DATABASE, 5432)]))] for seq in range(3)))
    bench.engine._config = replace(bench.engine._config, window_s=60.0)
    stop = Waits(most=20)
    assert bench.engine.run(stop) == 0
    assert stop.waited[:2] == [0.0, 0.0]  # behind the third poll it is empty
    assert all(0 <= waited <= engine_module.REST_SECONDS for waited in stop.waited)
    assert any(waited > 0 for waited in stop.waited[2:])
    assert bench.values("flowatlas_pipeline_rows_total", "table") == {("flows",): 3}
