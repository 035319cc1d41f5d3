"""`flowatlas quarantine` over a real Kafka: batches lie there whole, and go back to their partitions once."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from kafka.admin import ConfigResource, KafkaAdminClient
from msgspec.structs import replace

from collector.schema import FLOWS, MAX_MESSAGE_BYTES
from pipeline.bus import Message, Reader, open_reader
from pipeline.bus.aside import open_quarantine
from pipeline.bus.kafka_quarantine import CUT_BYTES
from pipeline.bus.topics import MAX_BYTES, QUARANTINE_TOPIC
from pipeline.cli.main import main
from tests.pipeline.batches_for_tests import batch, message, of_version_after

pytestmark = pytest.mark.kafka


@pytest.fixture
def bus(kafka_broker: str) -> str:
    return f"kafka://{kafka_broker}"


@pytest.fixture
def node() -> str:
    """A node of this test alone."""
    return f"n-{uuid.uuid4().hex}"


@pytest.fixture
def reader(bus: str) -> Iterator[Reader]:
    """Of everything that lies in the topic of flows."""
    reader = open_reader(bus, None, [FLOWS.topic])
    reader.start()
    yield reader
    reader.stop()


def put_aside(bus: str, *messages: tuple[Message, str]) -> None:
    """As a pipeline does that cannot read them."""
    reader = open_reader(bus, "pipeline", [FLOWS.topic])
    for one, reason in messages:
        reader.quarantine(one, reason)
    reader.stop()


def there(reader: Reader, node: str, count: int) -> list[Message]:
    """The messages of a node in the topic of flows, once there are so many and no more come."""
    found: list[Message] = []
    for _ in range(300):
        found += [one for one in reader.poll(0.2) if one.key == node.encode()]
        if len(found) >= count and reader.caught_up():
            break
    return found


def replayed(capsys: pytest.CaptureFixture[str], bus: str, node: str) -> list[str]:
    assert main(["quarantine", "replay", "--bus", bus, "--node", node]) == 0
    return capsys.readouterr().out.splitlines()


def test_what_can_be_read_by_now_goes_back_to_its_partition_once(
    bus: str, node: str, reader: Reader, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = [batch(node=node, seq=seq) for seq in range(4)]
    aside = [(message(one, partition=str(seq % 3)), "schema_version") for seq, one in enumerate(sent)]
    unknown = replace(of_version_after(batch(node=node, seq=9)), partition="0")
    put_aside(bus, *aside, (unknown, "schema_version"))
    assert main(["quarantine", "list", "--bus", bus, "--node", node]) == 0
    rows: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = {row["version"]: (row["reason"], row["batches"], row["can_be_sent"]) for row in rows}
    assert sorted(told.values()) == [("schema_version", 1, 0), ("schema_version", 4, 4)]
    assert replayed(capsys, bus, node) == ["in their topics again: 4 batches", "left: 1 batch, schema_version"]
    came = sorted(there(reader, node, 4), key=lambda one: one.headers["seq"])
    assert [(one.partition, one.key, one.headers, one.value) for one in came] == [
        (str(seq % 3), one.key, one.headers(), one.value) for seq, one in enumerate(sent)
    ]
    assert replayed(capsys, bus, node) == ["in their topics again: 0 batches", "left: 1 batch, schema_version"]
    assert there(reader, node, 0) == []


def test_the_largest_batch_is_whole_where_the_topic_takes_it_and_cut_where_a_default_does_not(
    bus: str, node: str, kafka_broker: str
) -> None:
    largest = message(batch(node=node), partition="0", value=bytes(MAX_MESSAGE_BYTES))
    put_aside(bus, (largest, "schema_version"))
    assert kept(bus, node) == [(CUT_BYTES, False)]
    admin = KafkaAdminClient(bootstrap_servers=kafka_broker)
    admin.alter_configs([ConfigResource("topic", QUARANTINE_TOPIC, configs={"max.message.bytes": str(MAX_BYTES)})])
    admin.close()
    put_aside(bus, (largest, "schema_version"))
    assert sorted(kept(bus, node)) == [(CUT_BYTES, False), (MAX_MESSAGE_BYTES, True)]


def test_what_was_not_kept_as_it_came_stays(bus: str, node: str, capsys: pytest.CaptureFixture[str]) -> None:
    sound = batch(node=node)
    put_aside(
        bus,
        (message(sound, flaw="checksum"), "checksum"),
        (message(sound, headers={**sound.headers(), "later": b"x" * 300}), "schema_version"),
        (message(sound, headers={**sound.headers(), "flowatlas-reason": b"mine"}), "schema_version"),
    )
    assert replayed(capsys, bus, node) == [
        "in their topics again: 0 batches",
        "left: 3 batches, not all of it was kept",
    ]


def kept(bus: str, node: str) -> list[tuple[int, bool]]:
    """How much there is of each value of a node, and whether that is all of the message."""
    quarantine = open_quarantine(bus)
    found = [(len(one.message.value), one.is_whole) for one in quarantine.read() if one.message.key == node.encode()]
    quarantine.close()
    return found
