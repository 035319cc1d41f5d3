"""Record batches that no broker should hold and that a hostile producer can still make."""

from __future__ import annotations

from typing import Any

import pytest
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.util import calc_crc32c

from pipeline.bus.kafka_records import FlawedValue, GuardedRecordBatch


def record_batch(*headers: tuple[str, bytes], count: int = 2) -> bytearray:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=100_000,
    )
    for offset in range(count):
        builder.append(offset, timestamp=1, key=b"key", value=b"value", headers=list(headers))
    return bytearray(builder.build())


def sealed(content: bytearray) -> bytes:
    """The batch with its checksum made true again."""
    content[17:21] = calc_crc32c(memoryview(bytes(content))[21:]).to_bytes(4, "big")
    return bytes(content)


def values(batch: Any) -> list[bytes]:
    assert batch.validate_crc()
    return [record.value for record in batch]


def test_a_sound_batch_is_read_as_the_client_reads_it() -> None:
    content = bytes(record_batch(("name", b"content")))
    ours, theirs = GuardedRecordBatch(memoryview(content)), DefaultRecordBatch(memoryview(content))
    assert theirs.validate_crc()
    assert ours.validate_crc()
    as_tuples = [[(r.offset, r.key, r.value, r.headers) for r in batch] for batch in (ours, theirs)]
    assert as_tuples[0] == as_tuples[1]
    assert len(as_tuples[0]) == 2


@pytest.mark.parametrize(
    ("damage", "flaw"),
    [
        (lambda c: sealed(c.replace(b"name", b"\xff\xff\xff\xff")), "segment"),  # a header's name that is not UTF-8
        (lambda c: sealed(c[:-3]), "segment"),  # a record that ends early
        (lambda c: sealed(c + b"\0"), "segment"),  # something after the last record
        (lambda c: bytes(c.replace(b"value", b"VALUE")), "checksum"),
        (lambda c: sealed(c[:22] + b"\x04" + c[23:]), "inflate"),  # says that it is compressed with zstd
        (lambda c: sealed(c[:22] + b"\x07" + c[23:]), "inflate"),  # by a codec that does not exist
    ],
)
def test_a_flaw_is_one_record_at_the_last_offset(damage: Any, flaw: str) -> None:
    content = damage(record_batch(("name", b"content")))
    batch = GuardedRecordBatch(memoryview(content))
    assert batch.validate_crc()
    records = list(batch)
    (flawed,) = [r for r in records if isinstance(r.value, FlawedValue)]
    assert (flawed.value.flaw, flawed.offset) == (flaw, 1)
    assert flawed is records[-1]
    assert bytes(flawed.value) == content


def test_every_damaged_byte_leaves_a_batch_that_can_be_passed() -> None:
    """Whatever one byte says, checksum made true: nothing is raised and the end is reached."""
    original = record_batch(("name", b"content"))
    for at in range(22, len(original)):
        for bits in (0x01, 0x80, 0xFF):
            content = bytearray(original)
            content[at] ^= bits
            batch = GuardedRecordBatch(memoryview(sealed(content)))
            assert 1 <= len(values(batch)) <= 3
