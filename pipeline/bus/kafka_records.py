"""Kafka record batches to messages, whatever their bytes are. It is a part of `pipeline.bus.kafka`.

kafka-python inflates compressed record batches without a cap: 1 MiB of zstd can hold gigabytes of zeros. And where a
batch raises (an unknown codec, a header's name that is not UTF-8), its fetcher never gets behind that batch. So here a
batch neither inflates nor raises: what is wrong with it comes out as one message with a flaw, at the batch's last
offset: `inflate` (compressed by Kafka), `checksum` or `segment` (malformed).

Nearly all records are of our own collectors, and as a rule a batch has one. What kafka-python does with one, byte by
byte in Python, costs a tenth of what the pipeline does with its rows. So records whose headers are those of a batch of
rows (`kafka_headers`) are cut here in a few slices, and all others by kafka-python. The invariant: both ways give the
same messages.

Batches of message format 2, the only one that brokers from 3.0 store.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final

import google_crc32c
from kafka import TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.errors import KafkaError
from kafka.record import MemoryRecords
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.util import decode_varint

from collector.schema import MAX_MESSAGE_BYTES

from . import Message
from .kafka_headers import headers_of

HEAD_BYTES: Final = 64 * 1024
"""How much is kept of a batch that cannot be taken apart, or of a value that is too large."""

_HEAD: Final = struct.Struct(">qiibIhi30xi")
"""Of a batch: its first offset, length, leader's epoch, format, checksum, attributes, how far behind the first offset
the last is, and how many records."""
_LENGTH_END: Final = 12
"""The length counts what is behind it."""
_CHECKED: Final = 21
"""The checksum is of what is behind it."""
_FORMAT: Final = 2
_COMPRESSED: Final = 0x07
_CONTROL: Final = 0x20


class MessageRecords(Fetcher.PartitionRecords):  # type: ignore[misc]  # kafka-python has no types
    """One partition's part of an answer: messages, where kafka-python has records."""

    next_fetch_offset: int

    def _unpack_records(self, tp: TopicPartition, records: MemoryRecords, *_: object) -> Iterator[Message]:
        data = bytes(records._buffer)
        topic, partition = tp.topic, str(tp.partition)
        at, end = 0, len(data)
        while end - at >= _HEAD.size:
            first, length, self.leader_epoch, form, checksum, attributes, delta, count = _HEAD.unpack_from(data, at)
            behind = at + _LENGTH_END + length
            if behind > end:
                break  # the broker cut it: the next answer begins with it
            next_offset = first + delta + 1
            last = max(first + delta, self.next_fetch_offset)
            if behind < at + _HEAD.size or form != _FORMAT:  # what it says of itself means nothing
                behind, next_offset, last = end, 0, self.next_fetch_offset
                messages: Iterable[Message] = (_flawed(topic, partition, last, data[at:], "segment"),)
            elif attributes & _CONTROL:
                messages = ()
            elif google_crc32c.value(checked := data[at + _CHECKED : behind]) != checksum:
                messages = (_flawed(topic, partition, last, data[at:behind], "checksum"),)
            elif attributes & _COMPRESSED:
                messages = (_flawed(topic, partition, last, data[at:behind], "inflate"),)
            elif (cut := _cut(checked, topic, partition, first, count)) is not None:
                messages = cut
            else:
                messages = _taken_apart(data[at:behind], topic, partition, last)
            for message in messages:
                self.next_fetch_offset = message.offset + 1
                yield message
            self.next_fetch_offset = max(next_offset, self.next_fetch_offset)
            at = behind
        self.drain()


def _cut(checked: bytes, topic: str, partition: str, first: int, count: int) -> list[Message] | None:
    """The records of a batch, from what its checksum is of; None unless all are as collectors make them."""
    messages = []
    end = _HEAD.size - _CHECKED
    try:
        for _ in range(count):
            size, at = decode_varint(checked, end)
            end = at + size
            _, at = decode_varint(checked, at)  # attributes
            _, at = decode_varint(checked, at)  # the time
            delta, at = decode_varint(checked, at)
            key_size, at = decode_varint(checked, at)
            value_size, value_at = decode_varint(checked, at + key_size)
            behind = value_at + value_size
            headers = headers_of(checked[behind:end])
            if headers is None or key_size < 0 or value_size < 0:
                return None
            key, value = checked[at : at + key_size], checked[value_at:behind]
            messages.append(_message(topic, partition, first + delta, key, headers, value))
    except (IndexError, ValueError):
        return None
    return messages if end == len(checked) else None


def _taken_apart(batch: bytes, topic: str, partition: str, last: int) -> Iterator[Message]:
    """The records of a batch that is not compressed, by kafka-python."""
    try:
        for record in DefaultRecordBatch(batch):
            headers = {name: content or b"" for name, content in record.headers}
            yield _message(topic, partition, record.offset, record.key or b"", headers, record.value or b"")
    except KafkaError:
        yield _flawed(topic, partition, last, batch, "segment")


def _message(topic: str, partition: str, offset: int, key: bytes, headers: dict[str, bytes], value: bytes) -> Message:
    if len(value) > MAX_MESSAGE_BYTES:
        return Message(topic, partition, offset, key, headers, value[:HEAD_BYTES], "oversized")
    return Message(topic, partition, offset, key, headers, value)


def _flawed(topic: str, partition: str, offset: int, batch: bytes, flaw: str) -> Message:
    return Message(topic, partition, offset, b"", {}, batch[:HEAD_BYTES], flaw)


def read_messages(consumer: Any) -> None:
    """Make a consumer poll messages in place of kafka-python's records."""
    consumer._fetcher.PartitionRecords = MessageRecords
