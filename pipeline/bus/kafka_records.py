"""Kafka record batches, made safe to iterate. It is a part of `pipeline.bus.kafka`, for what kafka-python lacks.

kafka-python inflates compressed record batches without a cap: 1 MiB of zstd can hold gigabytes of zeros. And where a
batch raises (an unknown codec, a header's name that is not UTF-8), its fetcher never gets behind that batch. So here a
batch neither inflates nor raises: what is wrong with it comes out as one FlawedValue, at the batch's last offset.

Without one more package kafka-python computes checksums in Python, 100 ns a byte, which takes as long as all that the
pipeline does with the content; so they are computed here.

Batches of message format 2, the only one that brokers from 3.0 store.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import google_crc32c
from kafka.errors import KafkaError
from kafka.record import memory_records
from kafka.record.default_records import DefaultRecord, DefaultRecordBatch

HEAD_BYTES: Final = 64 * 1024
"""How much is kept of a batch that cannot be taken apart."""


class FlawedValue(bytes):
    """The beginning of a record batch, in place of a value. No producer can send one: the type is the mark."""

    flaw = ""


class GuardedRecordBatch(DefaultRecordBatch):  # type: ignore[misc]  # kafka-python has no types
    """A record batch whose flaw is a record: `inflate` (compressed by Kafka), `checksum` or `segment` (malformed)."""

    __slots__ = ("_flaw",)

    def __init__(self, buffer: memoryview) -> None:
        super().__init__(buffer)
        self._flaw = "" if self.compression_type == self.CODEC_NONE else "inflate"

    def validate_crc(self) -> bool:
        """Always true, so that the consumer goes on; a wrong checksum is the batch's flaw."""
        if google_crc32c.value(bytes(self._buffer[self.ATTRIBUTES_OFFSET :])) != self.crc:
            self._flaw = "checksum"
        return True

    def __iter__(self) -> Iterator[DefaultRecord]:
        while not self._flaw:
            try:
                record = super().__next__()
            except StopIteration:
                return
            except KafkaError:
                self._flaw = "segment"
            else:
                yield record
        value = FlawedValue(self._buffer[:HEAD_BYTES])
        value.flaw = self._flaw
        yield DefaultRecord(len(value), self.last_offset, self.max_timestamp, self.timestamp_type, None, value, [])


def install() -> None:
    """Make every consumer of this process read its record batches guarded; safe to call twice."""
    memory_records.DefaultRecordBatch = GuardedRecordBatch
