"""The Kafka sink against a real broker, and against one that goes away."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewPartitions

from collector.errors import ConfigError, TransientError
from collector.metrics import Metrics
from collector.schema import MAX_MESSAGE_BYTES, TABLES, Batch
from collector.sinks import Settled, Sink
from collector.sinks import kafka as kafka_sink
from collector.sinks.kafka import BLOCK_S, KafkaSink
from collector.sinks.spool import SpoolSink
from tests.kafka_broker import KafkaBroker
from tests.pipeline import batches_for_tests
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
    assert sink.flush(60)
    sink.stop()
    sink.stop()

    consumer = KafkaConsumer(bootstrap_servers=kafka_broker, auto_offset_reset="earliest", enable_auto_commit=False)
    consumer.assign([TopicPartition(sent[0].topic, p) for p in consumer.partitions_for_topic(sent[0].topic)])
    found: list[Any] = []
    deadline = time.monotonic() + 90
    while len(found) < len(sent) and time.monotonic() < deadline:
        for messages in consumer.poll(500).values():
            found += [m for m in messages if m.key == b"kafka-sink-test"]
    consumer.close()
    assert [(dict(m.headers), m.value) for m in found] == [(one.headers(), one.value) for one in sent]
    assert len({m.partition for m in found}) == 1
    assert metrics.value("batches_total", table="flows") == 5
    assert metrics.value("rows_total", table="flows") == 50


def test_an_epoch_stays_in_its_partition_though_its_topic_is_given_more(kafka_broker: str, tmp_path: Path) -> None:
    """Also what the next process sends of it. Another table's topic is there later, and has all of them at once."""
    topic, nodes = TABLES["drops"].topic, [f"moving-{number}" for number in range(8)]
    admin: Any = KafkaAdminClient(bootstrap_servers=kafka_broker)

    def send(*epochs: int) -> None:
        sink = KafkaSink(f"kafka://{kafka_broker}", Metrics(), 1 << 22, partitions=tmp_path / "partitions")
        sink.start()
        for epoch in epochs:
            for node in nodes:
                sink.send(Batch("drops", node, epoch, 0, 1, 1, b"value"))
        assert sink.flush(60)
        sink.stop()

    send(1)
    before = len(admin.describe_topics([topic])[0]["partitions"])
    admin.create_partitions({topic: NewPartitions(5 * before)})
    deadline = time.monotonic() + 90
    while len(admin.describe_topics([topic])[0]["partitions"]) == before:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    admin.close()
    send(1, 2)
    consumer: Any = KafkaConsumer(bootstrap_servers=kafka_broker, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topic, number) for number in range(5 * before)])
    found: list[Any] = []
    deadline = time.monotonic() + 90
    while len(found) < 3 * len(nodes) and time.monotonic() < deadline:
        for messages in consumer.poll(500).values():
            found += [m for m in messages if m.key.decode() in nodes]
    consumer.close()
    places = [(m.key.decode(), dict(m.headers)["epoch"], m.partition) for m in found]
    assert len(set(places)) == 2 * len(nodes), "a node's epoch is in one partition"
    assert all(number < before for _, epoch, number in places if epoch == b"1")
    assert any(number >= before for _, epoch, number in places if epoch == b"2")


def test_a_broker_that_goes_away_bounds_memory_and_time_and_loses_by_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also at the end: a producer that cannot deliver is left at a stop, and closes once it has given up."""
    monkeypatch.setattr(kafka_sink, "DELIVERY_S", 8.0)
    metrics = Metrics()
    with refused_connections():
        with KafkaBroker() as broker:
            sink = KafkaSink(f"kafka://{broker.bootstrap}", metrics, 4 * MAX_MESSAGE_BYTES)
            sink.start()
            sink.send(batch(0))
            assert sink.flush(60)
        monkeypatch.setattr(kafka_sink, "BLOCK_S", BLOCK_S)
        began = time.monotonic()
        for seq in range(1, 7):
            sink.send(batch(seq, size=MAX_MESSAGE_BYTES - 4096))
        assert time.monotonic() - began < 3 * BLOCK_S + 60
        assert metrics.value("lost_rows_total", table="flows", reason="bus_full") == 20, "four of six found room"
        assert not sink.flush(0.1)
        sink.stop()
        assert sink.flush(0), "what was in flight is given up"
        assert metrics.value("lost_rows_total", table="flows", reason="bus_error") == 40
        assert metrics.value("rows_total", table="flows") == 10
        time.sleep(8)
        sink.stop()
        assert metrics.value("lost_rows_total", table="flows", reason="bus_error") == 40, "counted once"


def test_a_spool_loses_nothing_of_a_broker_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    """Batches go on while it is away, and every one of them is there afterwards; nothing is counted as lost."""
    metrics = Metrics()
    total = 60
    with refused_connections(), KafkaBroker() as broker:
        url = f"kafka://{broker.bootstrap}"
        sink = SpoolSink(tmp_path, metrics, 1 << 26, lambda told: KafkaSink(url, metrics, 1 << 25, told))
        sink.start()
        for seq in range(20):
            sink.send(batches_for_tests.batch(seq=seq, node="spooled"))
        assert sink.flush(60)
        broker.stop(graceful=False)
        began = time.monotonic()
        for seq in range(20, total):
            sink.send(batches_for_tests.batch(seq=seq, node="spooled"))
        assert time.monotonic() - began < 60, "the agent is not held up"
        assert not sink.flush(0.1)
        assert metrics.value("spool_bytes") > 0
        broker.start()
        assert sink.flush(90)
        sink.stop()
        consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", group_id=None)
        consumer.subscribe([batch(0).topic])
        found: list[int] = []
        deadline = time.monotonic() + 90
        while len(set(found)) < total and time.monotonic() < deadline:
            for messages in consumer.poll(500).values():
                found += [int(dict(m.headers)["seq"]) for m in messages if m.key == b"spooled"]
        consumer.close()
    assert sorted(set(found)) == list(range(total))
    assert metrics.value("batches_total", table="flows") == total
    assert metrics.value("spool_bytes") == 0


@pytest.mark.parametrize("is_spooled", [True, False])
def test_what_is_too_large_for_its_topic_is_lost_by_count_and_holds_up_nothing(
    tmp_path: Path, *, is_spooled: bool
) -> None:
    """Once a topic has refused one for its size the client gives up all that it has: those are sent again."""
    metrics = Metrics()
    large = {20, 21, 50}
    with KafkaBroker({"message.max.bytes": "50000"}) as broker:
        url = f"kafka://{broker.bootstrap}"

        def kafka(told: Settled | None = None) -> KafkaSink:
            return KafkaSink(url, metrics, 1 << 25, told)

        sink: Sink = SpoolSink(tmp_path, metrics, 1 << 26, kafka) if is_spooled else kafka()
        sink.start()
        for seq in range(100):
            sink.send(batches_for_tests.batch(seq=seq, rows=5000 if seq in large else 10))
            if not is_spooled:
                assert sink.flush(60)  # else what is given up along with it is lost too, and counted
        assert sink.flush(60)
        sink.stop()
        consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", group_id=None)
        consumer.subscribe([batch(0).topic])
        found: set[int] = set()
        deadline = time.monotonic() + 90
        while len(found) < 100 - len(large) and time.monotonic() < deadline:
            for messages in consumer.poll(500).values():
                found |= {int(dict(m.headers)["seq"]) for m in messages}
        consumer.close()
    assert found == set(range(100)) - large
    assert metrics.value("batches_total", table="flows") == 100 - len(large)
    assert metrics.value("lost_rows_total", table="flows", reason="too_large") == 5000 * len(large)
    assert metrics.value("lost_rows_total", table="flows", reason="bus_error") == 0
    assert not list(tmp_path.rglob("*.seg"))


def test_nobody_there_is_transient() -> None:
    with refused_connections(), pytest.raises(TransientError, match="bus: "):
        KafkaSink("kafka://127.0.0.1:1", Metrics(), 1 << 22).start()


@pytest.mark.parametrize("url", ["kafka:///", "kafka://host", "kafka://host:0", "kafka://a:1,b"])
def test_a_wrong_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="bus: "):
        KafkaSink(url, Metrics(), 1 << 22)
