"""Arrays of columns say what the columns say, with nulls and in slices too."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.attribution import arrays

WORDS = pl.Enum(["a", "b", "c"])
VALUES = {
    pl.UInt32(): st.integers(0, 2**32 - 2),
    pl.UInt8(): st.integers(0, 255),
    pl.Int64(): st.integers(-(2**63), 2**63 - 1),
    pl.Boolean(): st.booleans(),
    WORDS: st.sampled_from(WORDS.categories.to_list()),
}


@st.composite
def columns(draw: st.DrawFn, *dtypes: pl.DataType) -> pl.Series:
    """A column, a part of a column, or a column in pieces."""
    dtype = draw(st.sampled_from(dtypes or tuple(VALUES)))
    pieces = draw(st.lists(st.lists(st.none() | VALUES[dtype], max_size=20), min_size=1, max_size=3))
    whole = pl.concat([pl.Series("x", piece, dtype=dtype) for piece in pieces], rechunk=False)
    return whole.slice(draw(st.integers(0, 12)))


@settings(deadline=None)  # a shared machine may pause
@given(columns())
def test_numbers_are_the_column_where_it_is_not_null(column: pl.Series) -> None:
    told = column.to_physical().to_list()
    there = arrays.is_there(column)
    assert there.tolist() == [value is not None for value in told]
    assert arrays.numbers(column)[there].tolist() == [value for value in told if value is not None]


@settings(deadline=None)
@given(columns(pl.UInt32()))
def test_an_id_that_is_null_is_none_that_a_frame_has(column: pl.Series) -> None:
    assert arrays.ids(column).tolist() == column.fill_null(2**32 - 1).to_list()


@settings(deadline=None)
@given(columns(pl.UInt32()).map(lambda column: column % 2**31))
def test_a_table_of_ids_has_what_none_means_at_its_end(column: pl.Series) -> None:
    assert arrays.table(column, -1).tolist() == [*column.fill_null(2**32 - 1).cast(pl.Int64).replace(2**32 - 1, -1), -1]


@settings(deadline=None)
@given(columns(WORDS), st.sampled_from(WORDS.categories.to_list()))
def test_a_code_is_one_word(column: pl.Series, word: str) -> None:
    assert arrays.is_code(column, word).tolist() == [value == word for value in column.to_list()]


def test_a_word_that_is_none_of_an_enum_is_refused() -> None:
    with pytest.raises(ValueError, match="is not in list"):
        arrays.is_code(pl.Series(["a"], dtype=WORDS), "d")


@settings(deadline=None)
@given(columns(WORDS))
def test_codes_are_a_column_again(column: pl.Series) -> None:
    there = arrays.is_there(column)
    codes = np.where(there, arrays.numbers(column), 0).astype(np.uint8)
    assert arrays.enumerated(codes, WORDS, there).to_list() == column.to_list()
    whole = column.drop_nulls()
    assert arrays.enumerated(arrays.numbers(whole), WORDS).equals(whole.alias(""), check_dtypes=True)


@settings(deadline=None)
@given(columns(pl.UInt32(), pl.UInt8()))
def test_numbers_are_a_column_again(column: pl.Series) -> None:
    told = arrays.nullable(arrays.numbers(column), arrays.is_there(column))
    assert told.equals(column.alias(""), check_dtypes=True)


@settings(deadline=None)
@given(columns(), st.data())
def test_rows_are_taken_in_the_order_asked_for(column: pl.Series, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, len(column) - 1), max_size=9)) if len(column) else []
    rows = np.array(places, dtype=np.int64)
    told = arrays.taken({"y": column, "z": column}, rows, "z")
    assert told.equals(pl.DataFrame({"z": column})[rows])
