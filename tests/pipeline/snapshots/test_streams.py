"""However a stream came about, what is read from it is the frame."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pipeline.snapshots import streams
from pipeline.snapshots.streams import Stream, encoded


def read(stream: Stream) -> pl.DataFrame:
    content = b"".join(stream.pieces())
    assert len(content) == stream.length
    frame = pl.from_arrow(pa.ipc.open_stream(content).read_all())
    assert isinstance(frame, pl.DataFrame)
    return frame


def labels(rows: range) -> pl.DataFrame:
    return pl.DataFrame({"namespace": [f"ns-{row // 7}" for row in rows], "pod": [f"pod-{row}" for row in rows]})


@pytest.fixture
def rows_encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each frame has that is encoded."""
    rows: list[int] = []
    encode = streams._encoded

    def noted(frame: pl.DataFrame) -> tuple[bytes, bytes]:
        rows.append(frame.height)
        return encode(frame)

    monkeypatch.setattr(streams, "_encoded", noted)
    return rows


def test_of_label_sets_that_have_grown_the_new_ones_are_encoded(rows_encoded: list[int]) -> None:
    stream = encoded(labels(range(1_000)))
    for height in (1_000, 1_003, 1_006, 1_007):
        stream = encoded(labels(range(height)), stream)
        assert_frame_equal(read(stream), labels(range(height)))
    assert rows_encoded == [1_000, 3, 6, 1]


def test_many_small_steps_leave_few_batches(rows_encoded: list[int]) -> None:
    stream = encoded(labels(range(1)))
    for height in range(2, 600):
        stream = encoded(labels(range(height)), stream)
    assert len(stream.batches) <= 10
    assert sum(rows_encoded) <= 600 * 10
    assert_frame_equal(read(stream), labels(range(599)))


def test_what_has_changed_within_is_encoded_anew(rows_encoded: list[int]) -> None:
    stream = encoded(labels(range(10)))
    for frame in (labels(range(1, 12)), labels(range(1, 11)), labels(range(0)), labels(range(3))):
        stream = encoded(frame, stream)
        assert rows_encoded[-1] == frame.height
        assert_frame_equal(read(stream), frame)
    other = labels(range(3)).rename({"pod": "node"})
    assert read(encoded(other, stream)).columns == ["namespace", "node"]


def test_what_is_empty_as_it_was_is_not_encoded_again(rows_encoded: list[int]) -> None:
    empty = pl.DataFrame(schema={"kind": pl.Enum(["a", "b"]), "count": pl.Int64})
    stream = encoded(empty.clone(), encoded(empty))
    assert rows_encoded == [0]
    assert_frame_equal(read(stream), empty)
    assert read(encoded(empty.rename({"count": "number"}), stream)).columns == ["kind", "number"]


def test_null_is_no_empty_text() -> None:
    first = pl.DataFrame({"name": ["a", None]}, schema={"name": pl.String})
    second = pl.DataFrame({"name": ["a", "", "b"]})
    assert_frame_equal(read(encoded(second, encoded(first))), second)


texts = st.lists(st.sampled_from(["", "a", "é", "a name that is longer than twelve"]), max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), texts), min_size=1, max_size=8))
def test_any_order_of_growing_and_changing_reads_as_what_it_is(steps: list[tuple[bool, list[str]]]) -> None:
    stream, so_far = None, list[str]()
    for is_more, more in steps:
        so_far = [*so_far, *more] if is_more else more
        frame = pl.DataFrame({"name": so_far, "other": so_far[::-1] if len(so_far) % 2 else so_far}, orient="col")
        frame = frame.cast(pl.String)
        stream = encoded(frame, stream)
        assert_frame_equal(read(stream), frame)
