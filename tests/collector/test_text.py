"""Columns of text by numbers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.text import Text

COLUMNS = st.lists(st.sampled_from(["", "a", "bé", "a longer one"]))


@given(COLUMNS)
def test_a_column_reads_as_the_list_that_it_was_made_of(column: list[str]) -> None:
    text = Text.of(column)
    assert (len(text), list(text)) == (len(column), column)
    assert list(text[1:3]) == column[1:3]
    assert list(text.take(np.arange(len(column))[::-1])) == column[::-1]
    assert Text.of(text) is text


@given(COLUMNS)
def test_buffers_are_those_of_arrow(column: list[str]) -> None:
    ends, data = Text.of(column).buffers()
    assert [data[first:last].decode() for first, last in pairwise(ends)] == column
    assert ends[0] == 0
    assert ends[-1] == len(data)


def test_a_number_without_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match="number 2 of 2"):
        Text(("a", "b"), np.array([0, 2], np.uint32))


def test_rows_without_text() -> None:
    assert list(Text.empty(2)) == ["", ""]
