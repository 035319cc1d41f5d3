"""The broker that other tests stand on."""

from __future__ import annotations

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from tests.kafka_broker import KafkaBroker

pytestmark = pytest.mark.kafka


def test_what_was_acknowledged_survives_a_kill_and_the_address_stays() -> None:
    with KafkaBroker() as broker:
        address = broker.bootstrap
        producer = KafkaProducer(bootstrap_servers=address)
        metadata = producer.send("kept", b"value", partition=0).get(30)
        producer.close()
        broker.stop(graceful=False)
        assert broker.pid is None
        broker.start()
        assert broker.bootstrap == address
        consumer = KafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest")
        partition = TopicPartition("kept", metadata.partition)
        consumer.assign([partition])
        records = consumer.poll(timeout_ms=10_000)
        consumer.close()
    assert [record.value for record in records[partition]] == [b"value"]
