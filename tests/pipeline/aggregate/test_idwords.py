"""Ids of every kind have the same words where, and only where, they are the same."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.aggregate.idwords import IdWords, grouped, joined
from pipeline.attribution.keyindex import GrowingIndex

KINDS = pl.Enum(["request", "reply"])
SCHEMA = pl.Schema(
    {"id": pl.UInt32(), "protocol": pl.UInt8(), "same": pl.Boolean(), "kind": KINDS, "reason": pl.String()}
)
ROWS = st.tuples(
    st.none() | st.sampled_from([0, 1, 2**31, 2**32 - 2]),
    st.none() | st.sampled_from([0, 1, 255]),
    st.none() | st.booleans(),
    st.none() | st.sampled_from(["request", "reply"]),
    st.none() | st.sampled_from(["", "other", "reply"]),
)


@settings(deadline=None)  # a shared machine may pause
@given(st.lists(st.lists(ROWS, min_size=1, max_size=30), max_size=8))
def test_numbers_follow_ids_from_frame_to_frame(frames: list[list[tuple[object, ...]]]) -> None:
    words, index = IdWords(SCHEMA.names()), GrowingIndex()
    known: dict[tuple[object, ...], int] = {}
    for rows in frames:
        numbers = index.numbers(words.of(pl.DataFrame(rows, schema=SCHEMA, orient="row")))
        assert [known.setdefault(row, number) for row, number in zip(rows, numbers.tolist(), strict=True)] == (
            numbers.tolist()
        )
    assert sorted(known.values()) == list(range(len(index)))


@settings(deadline=None)  # a shared machine may pause
@given(st.lists(ROWS, max_size=60))
def test_rows_are_of_one_group_where_their_ids_are_the_same(rows: list[tuple[object, ...]]) -> None:
    groups = grouped(pl.DataFrame(rows, schema=SCHEMA, orient="row"), SCHEMA.names())
    distinct = list(dict.fromkeys(rows))
    assert groups.ids.rows() == distinct
    assert groups.numbers.tolist() == [distinct.index(row) for row in rows]


def test_groups_are_told_by_more_than_64_bits() -> None:
    highest = 2**32 - 1
    rows = [(a, b, c) for c in (0, highest) for b in (highest, 0) for a in (0, highest)] * 2
    groups = grouped(pl.DataFrame(rows, schema=dict.fromkeys("abc", pl.UInt32), orient="row"), ["a", "b", "c"])
    assert groups.numbers.tolist() == [*range(8), *range(8)]


def test_many_new_keys_at_once_have_one_number_each() -> None:
    random = np.random.default_rng(5)
    index = GrowingIndex()
    known: dict[tuple[int, int], int] = {}
    for most in (10, 5_000, 300, 40_000):
        columns = [random.integers(0, most, 30_000).astype(np.uint64), random.integers(0, 3, 30_000).astype(np.uint64)]
        numbers = index.numbers(columns).tolist()
        keys = zip(*(column.tolist() for column in columns), strict=True)
        assert [known.setdefault(key, number) for key, number in zip(keys, numbers, strict=True)] == numbers
    assert sorted(known.values()) == list(range(len(index)))


def test_what_has_no_width_is_refused() -> None:
    with pytest.raises(TypeError, match="share"):
        IdWords(["share"]).of(pl.DataFrame({"share": [0.5]}))
    with pytest.raises(TypeError, match="share"):
        grouped(pl.DataFrame({"share": [0.5]}), ["share"])


NUMBERS = st.integers(0, 2**64 - 1) | st.integers(0, 3) | st.sampled_from([2**32 - 1, 2**63, 2**64 - 1])


@settings(deadline=None)
@given(st.integers(1, 4).flatmap(lambda width: st.lists(st.tuples(*[NUMBERS] * width), min_size=1, max_size=30)))
def test_columns_are_joined_without_mixing_rows_up(rows: list[tuple[int, ...]]) -> None:
    words = joined([np.array(column, np.uint64) for column in zip(*rows, strict=True)])
    keys = list(zip(*(word.tolist() for word in words), strict=True))
    assert len(set(zip(rows, keys, strict=True))) == len(set(rows)) == len(set(keys))


def test_narrow_columns_are_one_word() -> None:
    rows = np.arange(5)
    words = joined([rows.astype(np.uint8), rows.astype(np.uint32), rows.astype(np.int64)])
    assert [word.tolist() for word in words] == [[31 * row for row in range(5)]]
