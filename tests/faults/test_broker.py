"""Brokers that are killed under load: what was shipped comes, each batch once after it is told apart by its name, and
each node's in order."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping, Sequence
from itertools import count, pairwise
from pathlib import Path

import pytest

from collector.metrics import Metrics
from collector.schema import Batch, parse_headers
from collector.sinks.kafka import KafkaSink
from collector.sinks.spool import SpoolSink
from pipeline.batches import BatchLedger
from pipeline.bus import open_reader
from pipeline.bus.kafka_topics import KafkaTopics
from pipeline.bus.share import Share
from pipeline.bus.topics import wanted_topics
from pipeline.errors import TransientError
from tests.kafka_cluster import KafkaCluster
from tests.pipeline.batches_for_tests import batch
from tests.pipeline.bus.buses import refused_connections

pytestmark = pytest.mark.kafka

KILLS = 3
NODES = ("node-a", "node-b", "node-c")
RETURN_SECONDS = 90.0


class Shipper(threading.Thread):
    """A collector's spool and sink, and a ledger of what it was given."""

    def __init__(self, node: str, url: str, folder: Path, stop: threading.Event) -> None:
        super().__init__(name=node)
        self.node = node
        self.metrics = Metrics()
        self.shipped: dict[tuple[str, int], Batch] = {}
        self._sink = SpoolSink(folder, self.metrics, 1 << 27, lambda told: KafkaSink(url, self.metrics, 1 << 25, told))
        self._stop_it = stop
        self.is_flushed = False

    def run(self) -> None:
        self._sink.start()
        for seq in count():
            if self._stop_it.wait(0.05):
                break
            one = batch(node=self.node, epoch=1, seq=seq, rows=1 + seq % 50)
            self.shipped[self.node, seq] = one
            self._sink.send(one)
        self.is_flushed = self._sink.flush(120)
        self._sink.stop()


class Taker(threading.Thread):
    """A pipeline's reader and ledger."""

    def __init__(self, url: str, share: Share) -> None:
        super().__init__(name=f"share {share}")
        self.taken: list[tuple[str, int]] = []
        self.rows = self.byte_sum = 0
        self.reader = open_reader(url, "faults", [batch().topic], share=share)
        self.ledger = BatchLedger()
        self.ended = threading.Event()

    def run(self) -> None:
        committed_at = time.monotonic()
        while True:
            try:
                self.reader.start()
                break
            except TransientError:
                time.sleep(0.2)
        while not self.ended.is_set():
            try:
                for message in self.reader.poll(0.2):
                    name = parse_headers(message.headers)
                    if self.ledger.accept(name):
                        self.taken.append((name.node, name.seq))
                        self.rows += name.rows
                        self.byte_sum += name.byte_sum
                if time.monotonic() - committed_at > 0.5:
                    self.reader.commit()
                    committed_at = time.monotonic()
            except TransientError:
                time.sleep(0.1)
        self.reader.stop()


def test_a_broker_is_killed_again_and_again_and_nothing_is_lost_or_there_twice(tmp_path: Path) -> None:
    random.seed(7)
    with refused_connections(), KafkaCluster() as cluster:
        url = f"kafka://{cluster.bootstrap}"
        with KafkaTopics(url) as topics:
            topics.create(wanted_topics(partitions=4, replication=3))
        stop = threading.Event()
        shippers = [Shipper(node, url, tmp_path / node, stop) for node in NODES]
        takers = [Taker(url, Share(i, 2)) for i in range(2)]
        for thread in (*takers, *shippers):
            thread.start()
        try:
            for kill in range(KILLS):
                _await_progress(shippers, takers)
                victim = cluster.brokers[kill % len(cluster.brokers)]
                victim.stop(graceful=False)
                _await_progress(shippers, takers)  # two of three go on
                victim.start(RETURN_SECONDS)
        finally:
            stop.set()
            for shipper in shippers:
                shipper.join(150)
            shipped = {name: one for shipper in shippers for name, one in shipper.shipped.items()}
            deadline = time.monotonic() + 60
            while sum(len(taker.taken) for taker in takers) < len(shipped) and time.monotonic() < deadline:
                time.sleep(0.1)
            for taker in takers:
                taker.ended.set()
            for taker in takers:
                taker.join(30)
    assert all(shipper.is_flushed for shipper in shippers)
    _reconcile(shipped, takers, [shipper.metrics for shipper in shippers])


def _await_progress(shippers: Sequence[Shipper], takers: Sequence[Taker]) -> None:
    """Wait until batches that are shipped from now on have been taken, of every node."""
    wanted = {shipper.node: len(shipper.shipped) + 5 for shipper in shippers}
    deadline = time.monotonic() + RETURN_SECONDS
    while any(
        sum(node == of for taker in takers for of, _ in list(taker.taken)) < least for node, least in wanted.items()
    ):
        assert time.monotonic() < deadline, "what is shipped does not come"
        time.sleep(0.1)


def _reconcile(shipped: Mapping[tuple[str, int], Batch], takers: Sequence[Taker], metrics: Sequence[Metrics]) -> None:
    """Ledger = taken, to the batch, row and byte; nothing counted as lost; each node at one taker, in order."""
    taken = [name for taker in takers for name in taker.taken]
    duplicates = sum(taker.ledger.duplicates.total() for taker in takers)
    print(f"shipped {len(shipped)} batches, taken {len(taken)}, passed over as duplicates {duplicates}")
    assert sorted(taken) == sorted(shipped)
    assert sum(taker.rows for taker in takers) == sum(one.rows for one in shipped.values())
    assert sum(taker.byte_sum for taker in takers) == sum(one.byte_sum for one in shipped.values())
    reasons = ("bus_full", "bus_error", "spool_full", "spool_error")
    assert sum(of.value("lost_rows_total", table="flows", reason=reason) for of in metrics for reason in reasons) == 0
    for node in NODES:
        (mine,) = [taker for taker in takers if any(of == node for of, _ in taker.taken)]
        order = [seq for of, seq in mine.taken if of == node]
        late = sum(later < earlier for earlier, later in pairwise(order))
        assert late == 0, f"{late} batches of {node} came behind younger ones"
