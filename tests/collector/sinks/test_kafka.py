"""The sink towards Kafka and a client that breaks its promises. With a real broker: tests/integration."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError
from kafka.future import Future

from collector.metrics import Metrics
from collector.sinks import kafka, spool
from collector.sinks.kafka import KafkaSink
from collector.sinks.spool import SpoolSink
from tests.pipeline.batches_for_tests import batch

BATCHES = 20


class Client:
    """A producer of which the first answers a few batches and then nothing any more, not even that it is closed."""

    made: list[Client]
    got: list[int]

    def __init__(self, **_: Any) -> None:
        self.made.append(self)
        self._is_mute_after = 5 if len(self.made) == 1 else BATCHES
        self._count = 0
        self._sender = self
        self.is_ended = False

    def force_close(self) -> None:
        """End the thread, whatever it still has to deliver."""
        self.is_ended = True

    def send(self, *_: Any, headers: list[tuple[str, bytes]], **__: Any) -> Any:
        self._count += 1
        future = Future()
        if self._count <= self._is_mute_after:
            self.got.append(int(dict(headers)["seq"]))
            future.success(None)
        return future

    def partitions_for(self, topic: str) -> set[int]:
        return {0, 1}

    def close(self, timeout: float) -> None:
        if len(self.made) == 1:
            raise KafkaTimeoutError("Timeout waiting for future")


@pytest.fixture(autouse=True)
def clients(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    monkeypatch.setattr(Client, "made", [], raising=False)
    monkeypatch.setattr(Client, "got", [], raising=False)
    monkeypatch.setattr(kafka, "KafkaProducer", Client)
    monkeypatch.setattr(kafka, "DELIVERY_S", 1.0)
    monkeypatch.setattr(spool, "_RETRY_S", (0.001, 0.002))
    return Client


def test_a_client_that_answers_nothing_any_more_is_replaced_and_nothing_is_lost(
    tmp_path: Path, clients: type[Client]
) -> None:
    metrics = Metrics()
    sink = SpoolSink(tmp_path, metrics, 1 << 20, lambda told: KafkaSink("kafka://x:1", metrics, 1 << 20, told))
    sink.start()
    for seq in range(BATCHES):
        sink.send(batch(seq=seq))
    assert sink.flush(60)
    sink.stop()
    assert len(clients.made) > 1
    assert clients.made[0].is_ended, "else its thread and all that it holds stay"
    assert sorted(set(clients.got)) == list(range(BATCHES))
    assert metrics.value("lost_rows_total", table="flows", reason="bus_error") == 0
    assert list(tmp_path.rglob("*.seg")) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "kafka-answers"]


def test_without_a_spool_what_is_never_answered_is_counted(clients: type[Client]) -> None:
    metrics = Metrics()
    sink = KafkaSink("kafka://x:1", metrics, 1 << 20)
    sink.start()
    for seq in range(BATCHES):
        sink.send(batch(seq=seq, rows=2))
    assert sink.flush(60)
    sink.stop()
    assert metrics.value("lost_rows_total", table="flows", reason="bus_error") >= 2 * (BATCHES - len(clients.got))
    assert len(clients.got) < BATCHES
