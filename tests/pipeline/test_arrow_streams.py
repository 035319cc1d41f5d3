"""Streams read together say what each says alone, and are refused as each is alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from msgspec.structs import replace

from collector.schema import VERSION, BatchError
from pipeline import arrow_streams
from pipeline.arrow_stream import Content, read_batch
from pipeline.arrow_streams import Shape, read_batches
from pipeline.blocks import Block
from pipeline.envelope import Opened, open_batch
from tests.pipeline.batches_for_tests import batch, message, stream_of

OPENED = open_batch(message(batch(rows=5)))


def named(rows: int) -> Opened:
    return replace(OPENED, name=OPENED.name._replace(rows=rows))


def block_of(streams: Sequence[tuple[int, bytes]]) -> Block:
    sizes = np.array([len(stream) for _, stream in streams])
    rooms = (sizes // 64 + 1) * 64
    memory = np.zeros(rooms.sum(), np.uint8)
    starts = np.cumsum(rooms) - rooms
    for start, (_, stream) in zip(starts, streams, strict=True):
        memory[start : start + len(stream)] = np.frombuffer(stream, np.uint8)
    return Block([named(rows) for rows, _ in streams], memory, starts, sizes)


def ours(rows: int, seed: int = 0) -> tuple[int, bytes]:
    return rows, stream_of(batch(rows=rows, seq=seed))


def arrows(rows: int) -> tuple[int, bytes]:
    """As pyarrow writes it: the same batch in other metadata."""
    one = pa.ipc.open_stream(stream_of(batch(rows=rows))).read_next_batch()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, one.schema) as writer:
        writer.write_batch(one)
    return rows, bytes(sink.getvalue())


def endless(rows: int) -> tuple[int, bytes]:
    """Without an end, as a stream may be."""
    rows, stream = ours(rows)
    return rows, stream[:-8]


def heads_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets the rows of each stream that was read by itself."""
    read: list[int] = []

    def noted(stream: memoryview, table: str, rows: int, version: int) -> Content:
        read.append(rows)
        return read_batch(stream, table, rows, version)

    monkeypatch.setattr(arrow_streams, "read_batch", noted)
    return read


def check_as_alone(block: Block) -> None:
    found = read_batches(block, "flows")
    for number, opened in enumerate(block.batches):
        alone = read_batch(block.content(number), "flows", opened.name.rows)
        assert found.rows[number] == opened.name.rows
        assert found.fields[number].tobytes() == alone.fields
        assert found.buffers[number].tobytes() == alone.buffers
        start, end = alone.body
        assert (found.starts[number], found.sizes[number]) == (block.starts[number] + start, end - start)


def test_of_streams_of_one_encoder_one_is_read_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    block = block_of([ours(rows, seed) for seed, rows in enumerate((5, 1, 150, 7, 2000, 5))])
    check_as_alone(block)
    read = heads_read(monkeypatch)
    read_batches(block, "flows")
    assert read == [5]


def test_streams_of_different_encoders_are_read_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream without rows leaves out that it has none, so its head is another."""
    block = block_of([ours(0), arrows(3), ours(5), endless(4), ours(6), arrows(0), arrows(8), ours(7), ours(0)])
    check_as_alone(block)
    read = heads_read(monkeypatch)
    read_batches(block, "flows")
    assert sorted(read) == [0, 0, 0, 3, 4, 5]


def test_encoders_of_an_earlier_block_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[Shape] = []
    read_batches(block_of([ours(5), ours(6), arrows(3), arrows(4)]), "flows", VERSION, shapes)
    later = block_of([arrows(9), ours(0), ours(8)])
    expected = read_batches(later, "flows")
    read = heads_read(monkeypatch)
    found = read_batches(later, "flows", VERSION, shapes)
    assert read == [0]
    for name in ("rows", "fields", "buffers", "starts", "sizes"):
        assert (getattr(found, name) == getattr(expected, name)).all(), name


def test_many_kinds_of_heads_are_read_one_by_one() -> None:
    """Whose metadata are padded differently, as any encoder may."""

    def padded(rows: int, words: int) -> tuple[int, bytes]:
        _, stream = ours(rows)
        schema = 8 + int.from_bytes(stream[4:8], "little")
        size = int.from_bytes(stream[schema + 4 : schema + 8], "little")
        behind = schema + 8 + size
        length = (size + 8 * words).to_bytes(4, "little")
        return rows, stream[: schema + 4] + length + stream[schema + 8 : behind] + bytes(8 * words) + stream[behind:]

    check_as_alone(block_of([padded(rows, words) for words in range(9) for rows in (1, 20)]))


def reasons_alone(block: Block) -> set[str]:
    """Why streams are refused, each by itself."""
    reasons = set()
    for number, opened in enumerate(block.batches):
        try:
            read_batch(block.content(number), "flows", opened.name.rows)
        except BatchError as error:
            reasons.add(error.reason)
    return reasons


def check_judged_as_alone(block: Block) -> None:
    known: list[Shape] = []
    read_batches(block_of([ours(5), ours(6)]), "flows", VERSION, known)
    if not (reasons := reasons_alone(block)):
        check_as_alone(block)
        return
    for shapes in ([], known):
        with pytest.raises(BatchError) as caught:
            read_batches(block, "flows", VERSION, shapes)
        assert caught.value.reason in reasons


@pytest.mark.parametrize("place", ["first", "last"])
def test_any_other_byte_of_a_head_counts_as_it_does_alone(place: str) -> None:
    """Words of it are changed in turn, of the stream that others are compared with and of another."""
    good, other = ours(5), ours(9)
    metadata = 8 + int.from_bytes(good[1][4:8], "little")
    end = read_batch(good[1], "flows", 5).head.size
    for at in (*range(0, metadata, 160), *range(metadata, end, 8)):
        changed = bytearray(good[1])
        changed[at + at // 8 % 8] ^= 0x41
        streams = [good, (5, bytes(changed)), other]
        check_judged_as_alone(block_of(streams[1:] if place == "first" else streams))


@pytest.mark.parametrize("rows", [4, 5, 6])
@pytest.mark.parametrize("end", [b"", b"\xff\xff\xff\xff", b"\xff\xff\xff\xff\x08\0\0\0", bytes(8), b"\xff" * 16])
def test_a_stream_that_ends_or_is_counted_otherwise_is_judged_as_it_is_alone(rows: int, end: bytes) -> None:
    _, stream = ours(5)
    check_judged_as_alone(block_of([ours(5), (rows, stream[:-8] + end), ours(7)]))


def test_numbers_that_lie_where_it_says_what_is_where_tell_nothing_of_others() -> None:
    """A hostile head keeps the slots of its table in a buffer of nulls, which nobody looks at. Another one says there,
    and nowhere else, that it is compressed."""
    rows, stream = ours(5)
    head = read_batch(stream, "flows", rows).head
    (table, _), (slots, end) = head.structure[6:8]
    lying = bytearray(stream)
    lying[head.buffers : head.buffers + end - slots] = stream[slots:end]
    lying[head.buffers : head.buffers + 2] = (12).to_bytes(2, "little")
    lying[table : table + 4] = (table - head.buffers).to_bytes(4, "little", signed=True)
    compressed = bytearray(lying)
    compressed[head.buffers + 10] = 4
    check_as_alone(block_of([(rows, bytes(lying))] * 2))
    for pair in ((lying, compressed), (compressed, lying)):
        block = block_of([(rows, bytes(one)) for one in pair])
        assert reasons_alone(block) == {"ipc"}
        check_judged_as_alone(block)
