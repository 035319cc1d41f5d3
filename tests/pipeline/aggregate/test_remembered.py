"""Rows are new once, as long as they are remembered."""

from __future__ import annotations

import polars as pl

from pipeline.aggregate.remembered import Remembered


def rows(*numbers: int) -> pl.DataFrame:
    return pl.DataFrame({"a": [f"a{number}" for number in numbers], "b": [f"b{number % 2}" for number in numbers]})


def test_a_row_is_new_once() -> None:
    it = Remembered()
    assert it.new(rows(1, 2)).equals(rows(1, 2))
    assert it.new(rows(2, 3, 1)).equals(rows(3))
    assert it.new(rows()).is_empty()


def test_the_text_of_one_column_is_not_that_of_another() -> None:
    it = Remembered()
    one = pl.DataFrame({"a": ["x"], "b": ["y"]})
    assert it.new(one).height == 1
    assert it.new(one.select(a="b", b="a")).height == 1


def test_of_more_than_so_many_those_that_came_first_are_forgotten() -> None:
    it = Remembered(3)
    it.new(rows(1, 2, 3))
    assert it.new(rows(4)).height == 1
    assert it.new(rows(2, 3, 4)).is_empty()
    assert it.new(rows(1)).height == 1
