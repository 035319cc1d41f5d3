"""`flowatlas pipeline --snapshot` killed at random instants under load: what it counts is what was shipped, exactly.

The ledger is what the shipper knows that it has shipped. Throughout, no counter that anybody could see may fall.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from kafka import KafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from collector.schema import OUTCOMES, Batch
from pipeline.query import scan_flows
from tests.faults.counts import often, tell
from tests.faults.processor import Took, judge, waited_s
from tests.kafka_broker import KafkaBroker
from tests.pipeline.shipments import NOW, SECOND, batch, flow, write_segment
from tests.pipeline.small_cluster import OBJECTS
from tests.pipeline.state_batches import mark, put, state, synced

KILLS = often(16, 100)
"""Of each of three pipelines."""
READY_EVERY = often(4, 2)
"""One in so many meets a pipeline that is ready and has shown what it counts; the others meet it where they may."""
START_SECONDS = 180
QUICK_SECONDS = 3.0
"""Where it has a processor it is ready by then."""
NODES = ("node-a", "node-b")
ROWS = 40
WORKLOADS = ("10.0.1.5", "10.0.2.5")
SERVICES = (("10.96.0.7", "10.0.2.7", 5432), ("10.96.0.5", "10.0.1.5", 80))

Series = tuple[str, tuple[tuple[str, str], ...]]


class Shipper(threading.Thread):
    """Ships batches of every node until stopped, some of them twice, and knows what they come to."""

    def __init__(self, ship: Callable[[Batch, int], None], seed: int) -> None:
        """`ship` puts a batch on the bus so many times."""
        super().__init__(daemon=True)
        self.rows = self.batches = self.again = self.bytes = self.connections = self.refused = 0
        self._put = ship
        self._random = random.Random(seed)
        self._ended = threading.Event()

    def run(self) -> None:
        epoch = dict.fromkeys(NODES, 1)
        seq = Counter[str]()
        while not self._ended.wait(0.01):
            node = self._random.choice(NODES)
            if self._random.random() < 0.01:
                epoch[node], seq[node] = epoch[node] + 1, 0
            self._ship(self._batch(node, seq[node], epoch[node]))
            seq[node] += 1

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def _batch(self, node: str, seq: int, epoch: int) -> Batch:
        rows = []
        for number in range(ROWS):
            vip, backend, port = self._random.choice(SERVICES)
            outcome = self._random.choice(("open", "closed", "refused"))
            size = self._random.randrange(1, 100_000)
            source = WORKLOADS[NODES.index(node)]
            more = {"bytes": size, "reply_bytes": 2 * size, "outcome": OUTCOMES.index(outcome), "flow_id": number}
            rows.append(flow(source, vip, port, backend=backend, start=NOW - SECOND, time=NOW, **more))
            self.bytes += 3 * size
            self.connections += 1
            self.refused += outcome == "refused"
        self.rows += ROWS
        self.batches += 1
        return batch(node, seq, rows, epoch=epoch)

    def _ship(self, shipped: Batch) -> None:
        is_again = self._random.random() < 0.1  # as a collector ships a batch again that nobody acknowledged
        self.again += is_again
        self._put(shipped, 1 + is_again)


class Watched:
    """Runs of the command, one after the other, and what was seen of their counters."""

    def __init__(self, folder: Path) -> None:
        state = folder / "state.json"
        state.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(OBJECTS)}))
        self.command = [sys.executable, "-m", "pipeline.cli.main", "pipeline", "--listen", "127.0.0.1:0"]
        self.command += ["--state", str(state), "--snapshot", str(folder / "snap")]
        self.environment = {"PATH": "/usr/bin:/bin", "FLOWATLAS_PIPELINE_WINDOW_S": "0.1"}
        self.seen: dict[Series, float] = {}
        self.fallen: list[tuple[Series, float, float]] = []
        self._folder = folder
        self._child: subprocess.Popen[bytes] | None = None
        self._address = ""
        self.page = ""
        """What was scraped last."""
        self.ready: list[Took] = []
        """How long each run took until /readyz said so, of those that lived to see it."""

    def start(self) -> None:
        self._began = time.monotonic()
        self.is_ready = False
        with (self._folder / "log").open("wb") as log:
            self._child = subprocess.Popen(self.command, stdout=log, stderr=log, env=self.environment)
        deadline = time.monotonic() + START_SECONDS
        while not (served := re.search(r"serving /metrics on (\S+)", self.log())):
            assert self._child.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)
        self._address = served[1]

    @property
    def pid(self) -> int | None:
        """The process that runs; None where it has ended."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    def log(self) -> str:
        return (self._folder / "log").read_text()

    def look(self) -> None:
        """Scrape once, and note the counters that have fallen, and when it became ready."""
        self._ask_whether_ready()
        try:
            with urllib.request.urlopen(f"http://{self._address}/metrics", timeout=5) as answer:
                page = answer.read().decode()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return
        self.page = page
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if family.type == "counter" or (family.type == "histogram" and not sample.name.endswith("_sum")):
                    key = sample.name, tuple(sorted(sample.labels.items()))
                    if sample.value < self.seen.get(key, 0.0):
                        self.fallen.append((key, self.seen[key], sample.value))
                    self.seen[key] = sample.value

    def _ask_whether_ready(self) -> None:
        if self.is_ready:
            return
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(f"http://{self._address}/readyz", timeout=5).close()
            self.is_ready = True
            self.ready.append(Took(time.monotonic() - self._began, waited_s(self.pid or 0)))

    def total(self, name: str) -> float:
        """The sum of a counter's series, of those of flows where they tell of a table."""
        found = ((dict(labels), value) for (known, labels), value in self.seen.items() if known == name)
        return sum(value for labels, value in found if labels.get("table", "flows") == "flows")

    def kill(self) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()

    def end(self) -> int:
        assert self._child is not None
        self._child.terminate()
        return self._child.wait(START_SECONDS)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    it = Watched(tmp_path)
    try:
        yield it
    finally:
        it.kill()


def await_more_rows(watched: Watched) -> None:
    """Look until it is ready and has counted more than anybody had seen before."""
    before = watched.total("flowatlas_pipeline_rows_total")
    deadline = time.monotonic() + START_SECONDS
    while not watched.is_ready or watched.total("flowatlas_pipeline_rows_total") <= before:
        assert watched.pid is not None, watched.log()
        assert time.monotonic() < deadline, watched.log()
        watched.look()
        time.sleep(0.02)


def kill_again_and_again(watched: Watched, shipper: Shipper, kills: int = KILLS) -> None:
    """Load, kill, look; in the end what was told is what was shipped."""
    instants = random.Random(7)
    shipper.start()
    met = 0
    for number in range(kills):
        watched.start()
        if number % READY_EVERY == 0:
            await_more_rows(watched)
            met += 1
        until = time.monotonic() + instants.uniform(0.0, 1.5)
        while time.monotonic() < until:
            watched.look()
            time.sleep(0.02)
        watched.kill()
    shipper.stop()
    watched.start()
    deadline = time.monotonic() + START_SECONDS
    while watched.total("flowatlas_pipeline_rows_total") < shipper.rows and time.monotonic() < deadline:
        watched.look()
        time.sleep(0.05)
    assert watched.end() == 0, watched.log()
    judge(f"{kills} kills, {met} of them of a pipeline that had shown more rows; ready", watched.ready, QUICK_SECONDS)
    assert max(took.seconds for took in watched.ready) < START_SECONDS
    told = {
        "rows": watched.total("flowatlas_pipeline_rows_total"),
        "batches": watched.total("flowatlas_pipeline_batches_total"),
        "bytes": watched.total("flowatlas_flow_bytes_total"),
        "of services": watched.total("flowatlas_service_bytes_total"),
        "connections": watched.total("flowatlas_connections_total"),
        "refused": watched.total("flowatlas_connection_failures_total"),
        "again": watched.total("flowatlas_pipeline_duplicate_batches_total"),
        "missing": watched.total("flowatlas_pipeline_missing_batches_total"),
    }
    tell(f"told: {told}; fallen: {len(watched.fallen)}")
    assert told == {
        "rows": shipper.rows,
        "batches": shipper.batches,
        "bytes": shipper.bytes,
        "of services": shipper.bytes,
        "connections": shipper.connections,
        "refused": shipper.refused,
        "again": shipper.again,
        "missing": 0,
    }
    assert watched.fallen == []
    assert shipper.again > 0


@pytest.mark.parametrize("has_lake", [False, True], ids=["metrics", "metrics and history"])
def test_counters_go_on_through_kills_as_if_there_had_been_none(
    watched: Watched, tmp_path: Path, has_lake: bool
) -> None:
    bus = tmp_path / "bus"
    watched.command += ["--bus", f"file://{bus}"]
    if has_lake:
        watched.command += ["--lake", str(tmp_path / "lake")]
        watched.environment["FLOWATLAS_PIPELINE_LAKE_FLUSH_S"] = "0.2"
    shipper = Shipper(lambda shipped, times: write_segment(bus, shipped, times), seed=7)
    kill_again_and_again(watched, shipper)
    if has_lake:
        assert_in_history(tmp_path / "lake", shipper)


def assert_in_history(lake: Path, shipper: Shipper) -> None:
    """To the row and byte."""
    history = scan_flows(lake).select(pl.len(), pl.sum("bytes", "reply_bytes")).collect()
    assert history.row(0)[0] == shipper.rows
    assert sum(history.row(0)[1:]) == shipper.bytes


def test_with_the_state_on_the_bus_too(watched: Watched, tmp_path: Path) -> None:
    """It is read again from its beginning at every start, and flows wait for it; neither counts twice."""
    bus = tmp_path / "bus"
    write_segment(bus, state(1, 0, [put(NOW - SECOND, item) for item in OBJECTS]))
    write_segment(bus, state(1, 1, [synced(NOW), mark(NOW + 3600 * SECOND)]))
    watched.command += ["--bus", f"file://{bus}", "--state", "bus"]
    shipper = Shipper(lambda shipped, times: write_segment(bus, shipped, times), seed=3)
    kill_again_and_again(watched, shipper, kills=5)


@pytest.mark.kafka
def test_over_kafka_too(watched: Watched, tmp_path: Path) -> None:
    """Metrics and history; a fixed share of the partitions, so that nobody waits for a dead member of a group."""
    with KafkaBroker() as broker:
        watched.command += ["--bus", f"kafka://{broker.bootstrap}", "--lake", str(tmp_path / "lake")]
        watched.environment |= {"FLOWATLAS_PIPELINE_PARTITIONS": "0/1", "FLOWATLAS_PIPELINE_LAKE_FLUSH_S": "0.2"}
        producer = KafkaProducer(bootstrap_servers=broker.bootstrap, metrics_enabled=False)

        def ship(shipped: Batch, times: int) -> None:
            for _ in range(times):
                producer.send(shipped.topic, shipped.value, key=shipped.key, headers=list(shipped.headers().items()))
            producer.flush()

        shipper = Shipper(ship, seed=11)
        try:
            kill_again_and_again(watched, shipper)
        finally:
            producer.close()
    assert_in_history(tmp_path / "lake", shipper)
