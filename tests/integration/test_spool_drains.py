"""What a collector has spooled while no broker answered goes to a real one much faster than it grew, all of it, and an
outage takes no memory however long it is."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from kafka import KafkaConsumer

from collector.errors import TransientError
from collector.metrics import Metrics
from collector.schema import FLOWS
from collector.sinks import Settled
from collector.sinks.kafka import KafkaSink
from collector.sinks.spool import SpoolSink
from tests.faults.counts import IS_ALL, often, tell
from tests.pipeline import batches_for_tests

pytestmark = pytest.mark.kafka

OUTAGE_SECONDS = often(300, 4 * 3600)
"""A collector ships a batch a second."""
FASTER = 10
ROWS = 300
NODE = "spool-drains"
MOST_GROWTH = 20 * 2**20
WAIT_SECONDS = 600


def held() -> int:
    """Bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Later(KafkaSink):
    """Finds no broker until it may."""

    may = False

    def start(self) -> None:
        if not self.may:
            raise TransientError("bus: no broker")
        super().start()


def sent_to(bootstrap: str, many: int) -> set[int]:
    """The numbers of our batches that a broker has, once they are so many."""
    consumer = KafkaConsumer(FLOWS.topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=None)
    found: set[int] = set()
    deadline = time.monotonic() + WAIT_SECONDS
    while len(found) < many and time.monotonic() < deadline:
        for messages in consumer.poll(500).values():
            found |= {int(dict(message.headers)["seq"]) for message in messages if message.key == NODE.encode()}
    consumer.close()
    return found


def test_an_outage_is_made_good_ten_times_as_fast_as_it_lasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kafka_broker: str
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # writing is not what is looked at
    metrics = Metrics()
    buses: list[Later] = []

    def make(on_settled: Settled) -> Later:
        buses.append(Later(f"kafka://{kafka_broker}", metrics, 1 << 25, on_settled))
        return buses[0]

    one = batches_for_tests.batch(node=NODE, rows=ROWS)
    sink = SpoolSink(tmp_path, metrics, 1 << 32, make)
    sink.start()
    before = held()
    for seq in range(OUTAGE_SECONDS):
        sink.send(replace(one, seq=seq))
    spooled, size = held(), metrics.value("spool_bytes")
    buses[0].may = True
    began = time.monotonic()
    sink.send(replace(one, seq=OUTAGE_SECONDS))
    assert sink.flush(OUTAGE_SECONDS / FASTER if IS_ALL else WAIT_SECONDS)
    took_s, drained = time.monotonic() - began, held()
    sink.stop()
    tell(
        f"{OUTAGE_SECONDS} batches, {size / 1e6:.0f} MB, in {took_s:.1f} s: {OUTAGE_SECONDS / took_s:.0f} times as fast"
    )
    tell(f"{(spooled - before) / 2**20:+.1f} MiB held for the outage, {(drained - spooled) / 2**20:+.1f} for draining")
    assert sent_to(kafka_broker, OUTAGE_SECONDS + 1) == set(range(OUTAGE_SECONDS + 1))
    assert metrics.value("spool_bytes") == 0
    assert spooled - before < MOST_GROWTH
