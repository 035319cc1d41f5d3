"""Columns are taken from where batches say, and only from inside their own bodies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from collector.schema import COUNTERS, VERSION, BatchError
from pipeline.arrow_stream import Content, read_batch
from pipeline.columns import Columns
from tests.pipeline.batches_for_tests import counters, stream_of

NAMES = ["eth0", "", "lo", "é", "eth0"]
CONTENT = read_batch(stream_of(counters(rows=5, interface=NAMES)), "counters", 5)
PLACE = 2 * list(COUNTERS.columns).index("interface") + 1
"""The buffer of the places of the first column of text: before it are numbers alone, of two buffers each."""


def columns(*contents: Content) -> Columns:
    return Columns(contents, [content.rows for content in contents], COUNTERS, VERSION)


def pairs(content: Content) -> np.ndarray:
    return np.frombuffer(content.buffers, np.int64).reshape(-1, 2).copy()


def with_buffer(at: int, start: int, length: int) -> Content:
    changed = pairs(CONTENT)
    changed[at] = start, length
    return replace(CONTENT, buffers=changed.tobytes())


def with_places(*places: int) -> Content:
    body = bytearray(CONTENT.body)
    start = int(pairs(CONTENT)[PLACE, 0])
    body[start : start + 24] = np.array(places, np.int32).tobytes()
    return replace(CONTENT, body=memoryview(bytes(body)))


def test_text_of_many_batches_is_one_column() -> None:
    empty = read_batch(stream_of(counters(rows=0)), "counters", 0)
    text = columns(empty, CONTENT, empty, CONTENT).text("interface")
    ends = np.cumsum(text.lengths).tolist()
    values = ["", *(text.data[end - size : end].decode() for end, size in zip(ends, text.lengths, strict=True))]
    assert [values[number] for number in text.numbers] == NAMES * 2


@pytest.mark.parametrize(
    "places",
    [
        (-4, 4, 6, 8, 8, 12),  # before its bytes
        (0, 4, 3, 6, 8, 12),  # back
        (0, 4, 4, 6, 8, 10_000),  # behind them
        (1, -(2**31), 4, 6, 8, 12),  # 2**31 - 1 bytes on, in 32 bits
        (2**31 - 1, -(2**31), 4, 6, 8, 12),
    ],
)
def test_places_of_text_that_lie_are_refused(places: tuple[int, ...]) -> None:
    lying = columns(CONTENT, with_places(*places), CONTENT)
    with pytest.raises(BatchError, match="ipc"):
        lying.text("interface")


@pytest.mark.parametrize("at", [1, PLACE, PLACE + 1])
@pytest.mark.parametrize(
    ("start", "length"), [(-8, 64), (0, -1), (0, 1 << 62), (1 << 62, 64), (2**63 - 8, 64), (4, 64), (0, 1)]
)
def test_columns_outside_of_the_body_are_refused(at: int, start: int, length: int) -> None:
    lying = with_buffer(at, start, length)
    with pytest.raises(BatchError, match="ipc"):
        columns(CONTENT, lying).text("interface")


def test_what_pretends_to_have_nulls_or_fewer_columns_is_refused() -> None:
    fields = np.frombuffer(CONTENT.fields, np.int64).copy()
    fields[1] = 1
    with pytest.raises(BatchError, match="nulls"):
        columns(CONTENT, replace(CONTENT, fields=fields.tobytes()))
    for fewer in (replace(CONTENT, fields=CONTENT.fields[16:]), replace(CONTENT, buffers=CONTENT.buffers[:-16])):
        with pytest.raises(BatchError, match="ipc"):
            columns(CONTENT, fewer)
