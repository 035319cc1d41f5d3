"""Columns are taken from where batches say, and only from inside their own bodies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from collector.schema import COUNTERS, FLOWS, VERSION, Batch, BatchError
from pipeline.arrow_streams import Contents, read_batches
from pipeline.blocks import inflated
from pipeline.columns import Columns
from pipeline.envelope import open_batch
from tests.pipeline.batches_for_tests import batch, counters, message

NAMES = ["eth0", "", "lo", "é", "eth0"]
GOOD = counters(rows=5, interface=NAMES)
PLACE = 2 * list(COUNTERS.columns).index("interface") + 1
"""The buffer of the places of the first column of text: before it are numbers alone, of two buffers each."""


def contents(*batches: Batch) -> Contents:
    """What the streams of batches say, in memory of its own."""
    (block,) = inflated([open_batch(message(source)) for source in batches])
    return read_batches(block, COUNTERS.name)


def columns(told: Contents) -> Columns:
    return Columns(told, COUNTERS, VERSION)


def with_buffer(told: Contents, at: int, start: int, length: int) -> Contents:
    """The last batch lies about a buffer."""
    buffers = told.buffers.copy()
    buffers[-1, at] = start, length
    return replace(told, buffers=buffers)


def with_places(told: Contents, places: tuple[int, ...]) -> Contents:
    """The last batch lies about where its text begins."""
    memory = told.memory.copy()
    start = int(told.starts[-1] + told.buffers[-1, PLACE, 0])
    memory[start : start + 24] = np.array(places, np.int32).view(np.uint8)
    return replace(told, memory=memory)


ALONE, BEHIND_OTHERS = (GOOD,), (GOOD, counters(rows=0), GOOD)
both = pytest.mark.parametrize("batches", [ALONE, BEHIND_OTHERS])


def test_text_of_many_batches_is_one_column() -> None:
    empty = counters(rows=0)
    text = columns(contents(empty, GOOD, empty, GOOD)).text("interface")
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
        (0, 4, 4, 6, 8, -(2**31)),  # the same in the end, which is no beginning
    ],
)
@both
def test_places_of_text_that_lie_are_refused(places: tuple[int, ...], batches: tuple[Batch, ...]) -> None:
    lying = columns(with_places(contents(*batches), places))
    with pytest.raises(BatchError, match="ipc"):
        lying.text("interface")


@pytest.mark.parametrize("at", [1, PLACE, PLACE + 1])
@pytest.mark.parametrize(
    ("start", "length"), [(-8, 64), (0, -1), (0, 1 << 62), (1 << 62, 64), (2**63 - 8, 64), (4, 64), (0, 1)]
)
@both
def test_columns_outside_of_the_body_are_refused(at: int, start: int, length: int, batches: tuple[Batch, ...]) -> None:
    lying = with_buffer(contents(*batches), at, start, length)
    with pytest.raises(BatchError, match="ipc"):
        columns(lying).text("interface")


@both
def test_the_body_of_another_is_no_part_of_its_own(batches: tuple[Batch, ...]) -> None:
    told = contents(*batches, GOOD)
    bodies = told.starts
    behind = int(bodies[-1] - bodies[-2])
    buffers = told.buffers.copy()
    buffers[-2, 1] = behind, 64
    with pytest.raises(BatchError, match="ipc"):
        columns(replace(told, buffers=buffers))


@both
def test_what_pretends_to_have_nulls_or_other_rows_is_refused(batches: tuple[Batch, ...]) -> None:
    told = contents(*batches)
    for at, reason in ((1, "nulls"), (0, "ipc")):
        fields = told.fields.copy()
        fields[-1, 3, at] += 1
        with pytest.raises(BatchError, match=reason):
            columns(replace(told, fields=fields))


@pytest.mark.parametrize("many", [1, 3])
def test_planes_end_with_the_last_that_holds_something(many: int) -> None:
    packets = np.array([[5, 0, 7], [300, 1, 2], [2**40, 0, 0]], np.uint64)[-many:]
    sent = [batch(rows=3, seq=number, packets=of_one) for number, of_one in enumerate(packets)]
    if many > 1:
        sent.insert(0, batch(rows=0))
    (block,) = inflated([open_batch(message(each)) for each in sent])
    planes = Columns(read_batches(block, FLOWS.name), FLOWS, VERSION).planes("packets")
    assert len(planes) == 6
    octets = np.zeros((planes.shape[1], 8), np.uint8)
    octets[:, : len(planes)] = planes.T
    assert octets.view(np.uint64)[:, 0].tolist() == packets.ravel().tolist()


def test_a_column_without_anything_has_one_plane() -> None:
    (block,) = inflated([open_batch(message(batch(rows=3, packets=np.zeros(3, np.uint64))))])
    assert Columns(read_batches(block, FLOWS.name), FLOWS, VERSION).planes("packets").tolist() == [[0, 0, 0]]
