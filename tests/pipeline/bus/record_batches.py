"""Record batches of Kafka as a producer makes them, damaged ones too, and what kafka-python reads in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaError
from kafka.record import MemoryRecords
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.util import calc_crc32c

from collector.schema import Batch
from pipeline.bus import Message
from pipeline.bus.kafka_records import MessageRecords

Headers = Sequence[tuple[str, Any]]

FOREIGN: Headers = [("name", b"content")]
OURS: Headers = list(Batch("flows", "node1", 1795679375489434137, 12, 150, 3003480, b"").headers().items())
FIRST = 1_000


def record_batch(*records: tuple[bytes | None, bytes | None, Headers], first: int = FIRST) -> bytearray:
    """A batch of such keys, values and headers, as a producer builds it and a broker numbers it."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=100_000,
    )
    for offset, (key, value, headers) in enumerate(records):
        builder.append(offset, timestamp=1 + 1_000 * offset, key=key, value=value, headers=list(headers))
    content = bytearray(builder.build())
    content[:8] = first.to_bytes(8, "big")
    return content


def two(headers: Headers) -> bytearray:
    return record_batch((b"node1", b"value", headers), (b"node1", b"another value", headers))


def sealed(content: bytes | bytearray) -> bytes:
    """The batch with its length and checksum made true again."""
    made = bytearray(content)
    made[8:12] = (len(made) - 12).to_bytes(4, "big")
    made[17:21] = calc_crc32c(memoryview(bytes(made))[21:]).to_bytes(4, "big")
    return bytes(made)


def polled(data: bytes, first: int = FIRST) -> list[Message]:
    """What comes of a broker's answer, all at once."""
    part = MessageRecords(first, TopicPartition("topic", 3), MemoryRecords(data))
    messages: list[Message] = part.take(10_000)
    assert not part
    assert part.next_fetch_offset == max([first, *(message.offset + 1 for message in messages)])
    return messages


def by_the_client(content: bytes) -> tuple[list[Message], str]:
    """The records of a batch as kafka-python reads them, and what is wrong with what is behind them."""
    batch = DefaultRecordBatch(content)
    if batch.is_control_batch or batch.compression_type:
        return [], "" if batch.is_control_batch else "inflate"
    messages = []
    try:
        for r in batch:
            headers = {name: value or b"" for name, value in r.headers}
            messages.append(Message("topic", "3", r.offset, r.key or b"", headers, r.value or b""))
    except KafkaError:
        return messages, "segment"
    return messages, ""
