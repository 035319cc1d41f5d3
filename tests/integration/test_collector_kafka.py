"""The Kafka sink against a real broker, and against one that goes away."""

from __future__ import annotations

import time
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition

from collector.errors import ConfigError, TransientError
from collector.metrics import Metrics
from collector.schema import MAX_MESSAGE_BYTES, Batch
from collector.sinks import kafka as kafka_sink
from collector.sinks.kafka import BLOCK_S, KafkaSink
from tests.kafka_broker import KafkaBroker
from tests.pipeline.bus.buses import refused_connections

pytestmark = pytest.mark.kafka


def batch(seq: int, *, node: str = "n1", size: int = 1000) -> Batch:
    return Batch("flows", node, 1_790_000_000_000_000_000, seq, 10, 100, bytes([seq % 256]) * size)


def test_a_batch_is_one_message_with_its_key_and_headers(kafka_broker: str) -> None:
    metrics = Metrics()
    sink = KafkaSink(f"kafka://{kafka_broker}/", metrics, 8 * MAX_MESSAGE_BYTES)
    sink.start()
    sent = [batch(seq, node="kafka-sink-test", size=MAX_MESSAGE_BYTES - 4096 if seq == 2 else 100) for seq in range(5)]
    for one in sent:
        sink.send(one)
    assert sink.flush(30)
    sink.stop()
    sink.stop()

    consumer = KafkaConsumer(bootstrap_servers=kafka_broker, auto_offset_reset="earliest", enable_auto_commit=False)
    consumer.assign([TopicPartition(sent[0].topic, p) for p in consumer.partitions_for_topic(sent[0].topic)])
    found: list[Any] = []
    deadline = time.monotonic() + 30
    while len(found) < len(sent) and time.monotonic() < deadline:
        for messages in consumer.poll(500).values():
            found += [m for m in messages if m.key == b"kafka-sink-test"]
    consumer.close()
    assert [(dict(m.headers), m.value) for m in found] == [(one.headers(), one.value) for one in sent]
    assert len({m.partition for m in found}) == 1
    assert metrics.value("batches_total", table="flows") == 5
    assert metrics.value("rows_total", table="flows") == 50


def test_a_broker_that_goes_away_bounds_memory_and_time_and_loses_by_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also at the end: a producer that cannot deliver is left at a stop, and closes once it has given up."""
    monkeypatch.setattr(kafka_sink, "DELIVERY_S", 8.0)
    metrics = Metrics()
    with refused_connections():
        with KafkaBroker() as broker:
            sink = KafkaSink(f"kafka://{broker.bootstrap}", metrics, 4 * MAX_MESSAGE_BYTES)
            sink.start()
            sink.send(batch(0))
            assert sink.flush(30)
        began = time.monotonic()
        for seq in range(1, 7):
            sink.send(batch(seq, size=MAX_MESSAGE_BYTES - 4096))
        assert time.monotonic() - began < 3 * BLOCK_S + 1
        assert metrics.value("lost_rows_total", table="flows", reason="bus_full") == 20, "four of six found room"
        assert not sink.flush(0.1)
        sink.stop()
        assert sink.flush(0), "what was in flight is given up"
        assert metrics.value("lost_rows_total", table="flows", reason="bus_error") == 40
        assert metrics.value("rows_total", table="flows") == 10
        time.sleep(8)
        sink.stop()
        assert metrics.value("lost_rows_total", table="flows", reason="bus_error") == 40, "counted once"


def test_nobody_there_is_transient() -> None:
    with refused_connections(), pytest.raises(TransientError, match="bus: "):
        KafkaSink("kafka://127.0.0.1:1", Metrics(), 1 << 22).start()


@pytest.mark.parametrize("url", ["kafka:///", "kafka://host", "kafka://host:0", "kafka://a:1,b"])
def test_a_wrong_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="bus: "):
        KafkaSink(url, Metrics(), 1 << 22)
