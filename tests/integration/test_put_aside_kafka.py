"""What putting aside costs a pipeline that has much to put aside, or nowhere to put it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.record import default_records

from collector.schema import FLOWS
from pipeline.bus import Message, kafka_quarantine
from pipeline.bus.kafka_quarantine import PENDING_BYTES, KafkaQuarantine
from pipeline.bus.topics import MAX_BYTES, QUARANTINE_TOPIC
from tests.conftest import kafka_problem, missing
from tests.kafka_broker import KafkaBroker

pytestmark = pytest.mark.kafka
LARGE = bytes(1_000_000)
ANSWER_SECONDS = 10.0
COMMITS = 10


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    """One that makes no topic by itself."""
    if problem := kafka_problem():
        missing(problem)
    with KafkaBroker({"auto.create.topics.enable": "false"}) as broker:
        yield broker


@pytest.fixture
def admin(broker: KafkaBroker) -> Iterator[KafkaAdminClient]:
    """With the topic made."""
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    admin.create_topics([NewTopic(QUARANTINE_TOPIC, 1, 1, topic_configs={"max.message.bytes": str(MAX_BYTES)})])
    yield admin
    admin.close()


def unreadable(offset: int, value: bytes) -> Message:
    return Message(FLOWS.topic, "0", offset, b"node", {}, value)


def test_what_cannot_be_put_aside_is_waited_for_once_and_not_with_each_commit(
    broker: KafkaBroker, admin: KafkaAdminClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kafka_quarantine, "ANSWER_SECONDS", ANSWER_SECONDS)
    aside = KafkaQuarantine([broker.bootstrap], {})
    aside.put(unreadable(0, b"x"), "checksum")
    aside.flush()
    assert not [record for record in caplog.records if record.name.startswith("pipeline.")]
    admin.delete_topics([QUARANTINE_TOPIC])
    began = time.monotonic()
    for offset in range(1, 1 + COMMITS):
        aside.put(unreadable(offset, b"x"), "checksum")
        aside.flush()
    assert time.monotonic() - began < (COMMITS - 1) * ANSWER_SECONDS
    assert [record.levelname for record in caplog.records if "put aside" in record.message] == ["WARNING"]
    aside.close()


def test_a_flood_of_large_ones_is_summed_natively_and_no_more_is_held_than_fits(
    broker: KafkaBroker, admin: KafkaAdminClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client's own checksum takes a tenth of a second for each of these, in which no other thread runs."""

    def slow(_: memoryview) -> int:
        raise AssertionError("the checksum is computed in Python")

    monkeypatch.setattr(default_records, "calc_crc32c", slow)
    aside = KafkaQuarantine([broker.bootstrap], {})
    for offset in range(40):
        aside.put(unreadable(offset, LARGE), "schema_version")
        assert sum(len(message.value) for _, message, _ in aside._pending) < PENDING_BYTES + len(LARGE)
    aside.close()
    assert not [record for record in caplog.records if record.name.startswith("pipeline.")]
    admin.delete_topics([QUARANTINE_TOPIC])
