"""Record batches to messages: what no broker should hold and a hostile producer can still make among them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.record import MemoryRecords

from collector.schema import MAX_MESSAGE_BYTES
from pipeline.bus import Message, kafka_headers, kafka_records
from pipeline.bus.kafka_records import HEAD_BYTES, MessageRecords
from tests.pipeline.bus.record_batches import (
    FIRST,
    FOREIGN,
    OURS,
    Headers,
    by_the_client,
    polled,
    record_batch,
    sealed,
    two,
)


@pytest.mark.parametrize(
    "headers",
    [
        OURS,
        FOREIGN,
        [],
        OURS[:-1],
        [*OURS, *FOREIGN],
        [*FOREIGN, *OURS],
        [OURS[1], OURS[0], *OURS[2:]],
        [*OURS[:5], OURS[6], OURS[5]],
        [*OURS[:3], OURS[2], *OURS[4:]],  # one of them twice
        [*OURS[:2], ("node", b"n" * 253), *OURS[3:]],
        [*OURS[:2], ("node", b"n" * 5_000), *OURS[3:]],
        [*OURS[:2], ("node", b"\xff\x00\x06seq\x021"), *OURS[3:]],
        [*OURS[:2], ("node", None), *OURS[3:]],
        [*OURS[:4], ("seq", b""), *OURS[5:]],
        [*OURS[:4], ("seq", None), *OURS[5:]],
        [*OURS[:4], ("seq", b"-1"), *OURS[5:]],
        [*OURS[:4], ("seq", b"1" * 20), *OURS[5:]],
        [*OURS[:4], ("seq", b"1" * 21), *OURS[5:]],
        [*OURS[:4], ("seq", b"1\x08rows\x021"), *OURS[5:]],
        [*OURS[:6], ("bytes", b"12\n")],
    ],
)
def test_sound_records_are_read_as_the_client_reads_them(headers: Headers) -> None:
    content = bytes(two(headers))
    assert (polled(content), "") == by_the_client(content)
    assert [message.offset for message in polled(content)] == [FIRST, FIRST + 1]
    assert [message.value for message in polled(content)] == [b"value", b"another value"]


@pytest.mark.parametrize("size", [0, 1, 63, 64, 150, 8_191, 8_192, 60_000])
def test_a_batch_of_rows_of_any_size_is_cut_and_not_taken_apart(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(kafka_records, "DefaultRecordBatch")
    for key in (b"n", b"n" * 253):
        content = bytes(record_batch((key, bytes(size), OURS)))
        (message,) = polled(content)
        assert message == Message("topic", "3", FIRST, key, dict(OURS), bytes(size))
        assert message.origin == f"topic/3/{FIRST}"


@pytest.mark.parametrize("headers", [FOREIGN, OURS])
def test_a_record_may_lack_key_and_value(headers: Headers) -> None:
    content = bytes(record_batch((None, b"value", headers), (b"key", None, headers), (None, None, headers)))
    assert [(message.key, message.value) for message in polled(content)] == [(b"", b"value"), (b"key", b""), (b"", b"")]
    assert (polled(content), "") == by_the_client(content)


@pytest.mark.parametrize("headers", [FOREIGN, OURS])
def test_of_a_value_that_is_too_large_the_beginning_is_kept(headers: Headers) -> None:
    largest, larger = bytes(MAX_MESSAGE_BYTES), bytes(MAX_MESSAGE_BYTES + 1)
    data = bytes(record_batch((b"", largest, headers))) + bytes(record_batch((b"", larger, headers), first=FIRST + 1))
    whole, cut = polled(data)
    assert (whole.value, whole.flaw) == (largest, "")
    assert (cut.value, cut.flaw, cut.headers) == (bytes(HEAD_BYTES), "oversized", dict(headers))


def test_reading_goes_on_in_the_middle_of_a_batch_and_behind_one_that_the_broker_has_cut() -> None:
    batches = [bytes(two(OURS)), bytes(record_batch((b"n", b"third", OURS), first=FIRST + 2))]
    data = b"".join(batches)
    assert [message.offset for message in polled(data, FIRST + 1)] == [FIRST + 1, FIRST + 2]
    for end in range(len(batches[0]), len(data)):
        assert [message.offset for message in polled(data[:end])] == [FIRST, FIRST + 1]


def test_messages_are_taken_as_many_as_are_wanted() -> None:
    data = bytes(two(OURS)) + bytes(record_batch((b"n", b"third", FOREIGN), first=FIRST + 2))
    part = MessageRecords(FIRST, TopicPartition("topic", 3), MemoryRecords(data))
    for offset in (FIRST, FIRST + 1, FIRST + 2):
        assert [message.offset for message in part.take(1)] == [offset]
        assert part.next_fetch_offset == offset + 1
    assert part.take(1) == []
    assert not part


def test_what_the_broker_itself_has_written_is_passed_over() -> None:
    control = two(FOREIGN)
    control[22] |= 0x20
    data = sealed(control) + bytes(record_batch((b"n", b"third", OURS), first=FIRST + 2))
    assert [message.offset for message in polled(data)] == [FIRST + 2]
    alone = MessageRecords(FIRST, TopicPartition("topic", 3), MemoryRecords(sealed(control)))
    assert alone.take(1) == []
    assert not alone
    assert alone.next_fetch_offset == FIRST + 2


@pytest.mark.parametrize("headers", [FOREIGN, OURS])
@pytest.mark.parametrize(
    ("damage", "flaw"),
    [
        (
            lambda c: sealed(c.replace(b"\x08node", b"\x08\xff\xff\xff\xff").replace(b"\x08name", b"\x01name")),
            "segment",
        ),
        (lambda c: sealed(c[:-3]), "segment"),  # a record that ends early
        (lambda c: sealed(c + b"\0"), "segment"),  # something after the last record
        (lambda c: bytes(c.replace(b"value", b"VALUE")), "checksum"),
        (lambda c: sealed(c[:22] + b"\x04" + c[23:]), "inflate"),  # says that it is compressed with zstd
        (lambda c: sealed(c[:22] + b"\x07" + c[23:]), "inflate"),  # by a codec that does not exist
    ],
)
def test_a_flaw_is_one_message_at_the_last_offset(damage: Any, flaw: str, headers: Headers) -> None:
    content = damage(two(headers))
    messages = polled(content)
    (flawed,) = [message for message in messages if message.flaw]
    assert (flawed.flaw, flawed.offset, flawed.value) == (flaw, FIRST + 1, content)
    assert flawed is messages[-1]
    behind = bytes(record_batch((b"n", b"third", OURS), first=FIRST + 2))
    assert polled(content + behind)[-1].value == b"third"


@pytest.mark.parametrize("damage", [lambda c: c[:16] + b"\x01" + c[17:], lambda c: c[:8] + bytes(4) + c[12:]])
def test_what_is_no_batch_costs_the_answer(damage: Any) -> None:
    """A format of long ago, or a length that cannot be: where the next batch begins is not known."""
    content = bytes(damage(two(OURS)))
    (flawed,) = polled(content + bytes(two(OURS)))
    assert (flawed.flaw, flawed.offset) == ("segment", FIRST)


def mutants(content: bytes) -> Iterator[bytes]:
    """The batch with each byte changed, taken out, doubled, or the last."""
    for at in range(22, len(content)):
        before, one, behind = content[:at], content[at : at + 1], content[at + 1 :]
        for bits in (0x01, 0x02, 0x40, 0x80, 0xFF):
            yield before + bytes([one[0] ^ bits]) + behind
        if at >= 61:
            yield from (before + behind, before + 2 * one + behind, before)


@pytest.mark.parametrize("headers", [FOREIGN, OURS])
def test_whatever_a_batch_holds_is_read_as_the_client_reads_it(headers: Headers) -> None:
    """Nothing is raised, the end is reached, and a flaw comes behind the records that the client makes before it."""
    for mutant in map(sealed, mutants(bytes(two(headers)))):
        part = MessageRecords(0, TopicPartition("topic", 3), MemoryRecords(mutant))
        messages = part.take(10_000)
        assert not part
        expected, flaw = by_the_client(mutant)
        assert messages[: len(expected)] == expected
        assert [message.flaw for message in messages[len(expected) :]] == ([flaw] if flaw else [])


def test_headers_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_headers, "_remembered", {})
    monkeypatch.setattr(kafka_headers, "MAX_REMEMBERED", 10)
    for epoch in range(100):
        headers = [*OURS[:3], ("epoch", b"%d" % epoch), *OURS[4:]]
        (message,) = polled(bytes(record_batch((b"n", b"value", headers))))
        assert message.headers == dict(headers)
        assert 1 <= len(kafka_headers._remembered) <= 10
    long = [*OURS[:3], ("epoch", b"1" * 1_000), *OURS[4:]]
    (message,) = polled(bytes(record_batch((b"n", b"value", long))))
    assert message.headers == dict(long)
    assert max(map(len, kafka_headers._remembered)) < 100
