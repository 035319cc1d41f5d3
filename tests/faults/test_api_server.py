"""An API server on a bad day while flows are counted: no flow loses its name or is lost, rows that the state does not
tell of in time are counted, and what the server has to tell is known soon after it is well."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest

from collector.schema import Batch
from pipeline.inventory.watch.backoff import Backoff
from pipeline.inventory.watch.config import WatcherConfig
from pipeline.outputs.meters import Meters
from pipeline.state import BusState, ClusterState
from tests.faults.counts import IS_ALL, often, tell
from tests.faults.ledger import Ledger, totals
from tests.faults.lives import Disk, live
from tests.faults.processor import Took, waited_s
from tests.faults.stream import Log, LogReader
from tests.pipeline.inventory.watch import fake_api
from tests.pipeline.inventory.watch.fake_api import FakeApi, says, status, until
from tests.pipeline.inventory.watch.runs import Kept, Run, watching
from tests.pipeline.shipments import SECOND
from tests.pipeline.small_cluster import OBJECTS

INJECTIONS: Final = often(6, 120)
WAIT_SECONDS: Final = 120.0
CONVERGED_SECONDS: Final = 5.0
OTHERS: Final = 12
"""Pods beside those that talk: one of them is replaced during each fault."""
CONFIG: Final = WatcherConfig("file://unused", discovery_s=often(1, 10) / 4)
ENDLESS: Final = 10**6
LATE: Final = "flowatlas_state_late_rows_total"


class Told(Kept):
    """Puts what the watcher says on a bus in memory."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def send(self, batch: Batch) -> None:
        self._log.put(batch)


@dataclass
class Scripted(Disk):
    """Ships when the script says so, which goes on by one step at each turn of the engine."""

    script: Iterator[None] = field(default_factory=lambda: iter(()))
    ahead_ns: int = 0

    def ship(self) -> None:
        if next(self.script, self) is self:
            self.left = 0

    def send(self, begun_ago_s: float) -> int:
        """Ship two batches of connections that began so long ago; their rows."""
        before = self.ledger.rows
        self.time_ns = lambda: time.time_ns() + SECOND - int(begun_ago_s * SECOND)
        for _ in range(2):
            super().ship()
        return self.ledger.rows - before

    def told(self, name: str) -> int:
        """The sum of a metric as it is shown now."""
        return totals(self.publication.text().decode())[name]


class Day:
    """One cluster, its API server and watcher, and the pipeline that reads what the watcher says."""

    def __init__(self, root: Path, fake: FakeApi) -> None:
        self.disk = Scripted(root, Ledger(18), left=ENDLESS)
        self.log = Log()
        self.converged: list[Took] = []
        """How long it took until all was known again, and how long threads waited for a processor meanwhile."""
        self.late = 0
        self._fake = fake
        self._state = BusState(LogReader(self.log))
        self._now: ClusterState | None = None
        self._replaced = 0
        for body in OBJECTS:
            meta = body["metadata"]
            fields = {name: body[name] for name in ("spec", "status") if name in body}
            fake.put(body["kind"], meta["name"], meta.get("namespace", ""), **fields)
        for number in range(OTHERS):
            self._put_other(number)

    def run(self, run: Run, strikes: Iterator[Callable[[Day, Run], Iterator[None]]]) -> None:
        """Live through strikes, one after the other."""
        self.disk.script = self._script(run, strikes)
        assert live(self.disk, state=self._state_now, window_s=0.2) == 0

    def awaited(self, is_so: Callable[[], Any]) -> Iterator[None]:
        """Let the engine turn until something is so."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not is_so():
            assert time.monotonic() < deadline, "it did not come to be so"
            yield

    def replace(self) -> str:
        """One of the other pods gives way to another, whose name is returned."""
        number, self._replaced = self._replaced, self._replaced + 1
        self._fake.delete("Pod", f"other-{number}", "shop")
        return self._put_other(number + OTHERS)

    def has(self, pod: str) -> bool:
        """Whether the pipeline knows a pod."""
        state = self._now
        return state is not None and not state.snapshot.endpoints.filter(pl.col("name") == pod).is_empty()

    def is_known_since(self, time_ns: int) -> bool:
        """Whether all that happened before an instant is known."""
        return self._now is not None and self._now.known_until > time_ns

    def _put_other(self, number: int) -> str:
        name, ip = f"other-{number}", f"10.0.3.{number % 250}"
        status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}
        self._fake.put("Pod", name, "shop", spec={"nodeName": "node-a"}, status=status)
        return name

    def _state_now(self, meters: Meters) -> ClusterState:
        self._now = self._state(meters)
        return self._now

    def _script(self, run: Run, strikes: Iterator[Callable[[Day, Run], Iterator[None]]]) -> Iterator[None]:
        yield from self.awaited(lambda: self.has("other-0"))
        self.disk.send(1.0)
        for strike in strikes:
            yield from strike(self, run)
            waited, newest, healed_ns, healed_s = waited_s(), self.replace(), time.time_ns(), time.monotonic()
            yield from self.awaited(lambda: self.has(newest) and self.is_known_since(healed_ns))  # noqa: B023
            self.converged.append(Took(time.monotonic() - healed_s, waited_s() - waited))
            self.disk.send(1.0)


def is_away(fake: FakeApi, strike: Callable[[Any], bool]) -> Callable[[Day, Run], Iterator[None]]:
    """The server answers nothing, until rows were counted that the state did not tell of in time."""

    def struck(day: Day, run: Run) -> Iterator[None]:
        asked = run.counts.of("errors_total", "")
        fake.fault(strike, times=ENDLESS)
        fake.cut()
        yield from day.awaited(lambda: run.counts.gauges.get(("current", "Pod")) == 0.0)
        yield from day.awaited(lambda: run.counts.of("errors_total", "") > asked)
        day.replace()
        before = day.disk.told(LATE)
        day.late += (rows := day.disk.send(0.0))
        yield from day.awaited(lambda: day.disk.told(LATE) >= before + rows)
        assert day.disk.told(LATE) == before + rows
        fake.faults.clear()

    return struck


def stalls(fake: FakeApi) -> Callable[[Day, Run], Iterator[None]]:
    """Questions are taken and not answered, until they are given up."""

    def struck(day: Day, run: Run) -> Iterator[None]:
        healed = threading.Event()
        before = run.counts.of("errors_total", "Pod", "timeout")
        fake.fault(until(healed), times=ENDLESS)
        fake.cut()
        day.disk.send(1.0)
        pod = day.replace()
        yield from day.awaited(lambda: run.counts.of("errors_total", "", "timeout") > before)
        assert not day.has(pod)
        fake.faults.clear()
        healed.set()

    return struck


def lists_nothing(fake: FakeApi) -> Callable[[Day, Run], Iterator[None]]:
    """It keeps no changes so old, and then lists no pod at all."""

    def empty(handler: fake_api.Handler) -> bool:
        handler.list(fake_api.ALL["Pod"], {}, [])
        return True

    def struck(day: Day, run: Run) -> Iterator[None]:
        before = run.counts.of("errors_total", "Pod", "empty")
        fake.fault(empty, "/pods", times=ENDLESS, watch="")
        fake.fault(status(410), "/pods", watch="true")
        fake.cut()
        day.replace()
        yield from day.awaited(lambda: run.counts.of("errors_total", "Pod", "empty") >= before + 2)
        assert day.has("front-1-x")
        day.disk.send(1.0)
        fake.faults.clear()

    return struck


def forgets(fake: FakeApi) -> Callable[[Day, Run], Iterator[None]]:
    """It keeps no changes so old (410), and what vanished meanwhile is told by nobody."""

    def struck(day: Day, run: Run) -> Iterator[None]:
        before, refused = (
            run.counts.of("relists_total", "Pod", "expired"),
            run.counts.of("errors_total", "Pod", "server"),
        )
        fake.fault(status(500), "/pods", times=ENDLESS, watch="true")
        fake.cut()
        yield from day.awaited(lambda: run.counts.of("errors_total", "Pod", "server") > refused)
        day.replace()
        fake.forget()
        fake.faults.clear()
        day.disk.send(1.0)
        yield from day.awaited(lambda: run.counts.of("relists_total", "Pod", "expired") > before)

    return struck


def repeats(fake: FakeApi) -> Callable[[Day, Run], Iterator[None]]:
    """Every event comes three times."""

    def struck(day: Day, run: Run) -> Iterator[None]:
        fake.repeats = 3
        pod = day.replace()
        day.disk.send(1.0)
        yield from day.awaited(lambda: day.has(pod))
        fake.repeats = 1

    return struck


def lags(fake: FakeApi) -> Callable[[Day, Run], Iterator[None]]:
    """A server that lags behind tells what was so before: a pod had another address, another is gone."""

    def struck(day: Day, run: Run) -> Iterator[None]:
        before = run.counts.of("stale_events_total", "Pod")
        pods = fake.objects[fake_api.ALL["Pod"]]
        old = json.loads(json.dumps([pods["shop", "front-1-x"], pods["shop", "database-0"]]))
        old[0]["status"] |= {"podIP": "10.0.9.9", "podIPs": [{"ip": "10.0.9.9"}]}
        for body in old:
            body["metadata"]["resourceVersion"] = "50"
        events = ({"type": "MODIFIED", "object": old[0]}, {"type": "DELETED", "object": old[1]})
        fake.fault(says(*(json.dumps(event).encode() + b"\n" for event in events)), "/pods", watch="true")
        fake.cut()
        yield from day.awaited(lambda: run.counts.of("stale_events_total", "Pod") == before + len(events))
        day.disk.send(1.0)

    return struck


@pytest.fixture
def fake() -> Iterator[FakeApi]:
    with FakeApi() as made:
        yield made


def settle(day: Day, what: str) -> None:
    """Hold what was counted against what was shipped, and say how soon the state was whole again."""
    seconds = sorted(took.seconds for took in day.converged)
    fed = fed_seconds(day)
    tell(account := day.disk.account())
    tell(f"{what}: known again after {seconds[len(seconds) // 2]:.2f} s, at most {seconds[-1]:.2f} s; {day.late} late")
    tell(f"{len(fed)} of them with a processor at hand, of these at most {max(fed, default=0.0):.2f} s")
    assert account.unexplained == {}
    assert day.disk.told("flowatlas_unattributed_bytes_total") == 0, "every flow has its names"
    assert day.disk.told(LATE) >= day.late
    if IS_ALL:
        assert max(fed, default=0.0) <= CONVERGED_SECONDS


def fed_seconds(day: Day) -> list[float]:
    """How long those took that had a processor when they wanted one."""
    return [took.seconds for took in day.converged if took.is_fed]


def test_on_a_bad_day_names_stay_and_no_flow_is_lost(fake: FakeApi, tmp_path: Path) -> None:
    day = Day(tmp_path, fake)
    away = is_away(fake, status(503)), is_away(fake, lambda handler: handler.cut())
    kinds = (*away, lists_nothing(fake), forgets(fake), repeats(fake), lags(fake))
    chance = random.Random(18)
    strikes = [kinds[at % len(kinds)] for at in range(INJECTIONS)] + [stalls(fake)] * often(1, 20)
    chance.shuffle(strikes)
    patience = Backoff if IS_ALL else lambda: Backoff(0.05)
    with watching(fake, CONFIG, kept=Told(day.log), backoff=patience, patience_s=2.0) as run:
        day.run(run, iter(strikes))
    assert run.counts.of("changes_total", "Pod") > len(OBJECTS) + OTHERS
    settle(day, f"{len(strikes)} faults")


def test_after_half_an_hour_away_the_server_is_asked_soon(fake: FakeApi, tmp_path: Path) -> None:
    """By then whoever asks waits for half a minute between two questions."""
    day = Day(tmp_path, fake)
    strikes = [is_away(fake, status(503))] * often(1, 10)
    with watching(fake, CONFIG, kept=Told(day.log), backoff=lambda: Backoff(30.0, 30.0)) as run:
        day.run(run, iter(strikes))
    settle(day, "an outage")
    assert max(fed_seconds(day), default=0.0) < 15.0 or not IS_ALL, "less than the shortest wait of who is not woken"
