"""Totals are exact, keep their rows and never fall."""

from __future__ import annotations

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.aggregate.totals import Totals


def deltas(rows: list[tuple[int | None, int]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"id": pl.UInt32, "value": pl.UInt64}, orient="row")


def letters(ids: pl.DataFrame) -> pl.DataFrame:
    """Ids that differ by a multiple of five have the same name."""
    return ids.select(name=pl.format("name-{}", pl.col("id").fill_null(4) % 5))


def found(totals: Totals) -> dict[str, int]:
    return dict(zip(totals.labels["name"], totals.measure("value"), strict=True))


@settings(deadline=None)  # a shared machine may pause
@given(st.lists(st.lists(st.tuples(st.none() | st.integers(0, 20), st.integers(0, 2**50)), max_size=10), max_size=6))
def test_sums_are_exact_and_rows_keep_their_place(windows: list[list[tuple[int | None, int]]]) -> None:
    """Ids may repeat within a window, be null, and share a name."""
    totals = Totals(("id",), ("name",), ("value",))
    expected: dict[str, int] = {}
    for window in windows:
        before = totals.labels["name"].to_list()
        totals.add(deltas(window), letters)
        for number, value in window:
            name = f"name-{(4 if number is None else number) % 5}"
            expected[name] = expected.get(name, 0) + value
        assert found(totals) == expected
        assert totals.labels["name"].to_list()[: len(before)] == before


def test_sums_beyond_what_a_float_holds_are_exact() -> None:
    totals = Totals(("id",), ("name",), ("value",))
    totals.add(deltas([(0, 2**53)]), letters)
    totals.add(deltas([(0, 1)]), letters)
    assert found(totals) == {"name-0": 2**53 + 1}


def test_a_total_that_nonsense_would_overflow_stays_at_the_most() -> None:
    """A counter that wraps would fall."""
    totals = Totals(("id",), ("name",), ("value",))
    for _ in range(3):
        totals.add(deltas([(0, 2**63 - 1)]), letters)
    assert found(totals) == {"name-0": 2**64 - 1}


def test_of_several_ids_of_one_name_the_sum_stays_at_the_most() -> None:
    totals = Totals(("id",), ("name",), ("value",))
    totals.add(deltas([(0, 2**64 - 1), (5, 2**64 - 1), (10, 7), (1, 3)]), letters)
    assert found(totals) == {"name-0": 2**64 - 1, "name-1": 3}
    totals.add(deltas([(5, 1), (1, 1)]), letters)
    assert found(totals) == {"name-0": 2**64 - 1, "name-1": 4}


def test_ids_are_named_once_and_only_when_somebody_asks() -> None:
    named: list[int] = []

    def counted(ids: pl.DataFrame) -> pl.DataFrame:
        named.append(ids.height)
        return letters(ids)

    totals = Totals(("id",), ("name",), ("value",))
    totals.add(deltas([(0, 1), (1, 1)]), counted)
    totals.add(deltas([(1, 1), (2, 1)]), counted)
    assert named == []
    assert found(totals) == {"name-0": 1, "name-1": 2, "name-2": 1}
    totals.add(deltas([(2, 1)]), counted)
    assert found(totals)["name-2"] == 2
    assert named == [3]


def test_forgotten_ids_are_named_anew() -> None:
    """After the snapshot has changed the same id may mean another name."""
    totals = Totals(("id",), ("name",), ("value",))
    totals.add(deltas([(0, 1)]), letters)
    totals.forget_ids()
    totals.add(deltas([(0, 5)]), lambda ids: ids.select(name=pl.lit("other")))
    assert found(totals) == {"name-0": 1, "other": 5}


def test_a_measure_taken_does_not_move_with_later_additions() -> None:
    """What was published stays what it was."""
    totals = Totals(("id",), ("name",), ("value",))
    totals.add(deltas([(0, 1)]), letters)
    taken = totals.measure("value")
    totals.add(deltas([(0, 1)]), letters)
    assert (taken.to_list(), totals.measure("value").to_list()) == ([1], [2])


def test_new_series_come_in_the_order_of_their_names() -> None:
    """The exposition's order does not depend on how a group-by happens to run."""
    totals = Totals(("id",), ("name",), ("value",))
    totals.add(deltas([(3, 1), (1, 1), (2, 1)]), letters)
    assert len(totals) == 3
    totals.add(deltas([(0, 1)]), letters)
    assert totals.labels["name"].to_list() == ["name-1", "name-2", "name-3", "name-0"]


def test_what_went_is_in_what_was_ever_counted() -> None:
    """Also after a restart, and of all that went at different times."""
    totals = Totals(("id",), ("name",), ("value",))
    totals.add(deltas([(0, 5), (1, 7)]), letters)
    for at, ids in ((100, [2]), (200, [3]), (300, [4])):
        totals.add(deltas([(number, 1) for number in ids]), letters)
        totals.expire(at, 150)
    assert found(totals) == {"name-3": 1, "name-4": 1}
    again = Totals(("id",), ("name",), ("value",))
    assert again.restore(totals.state()) == 0
    again.add(deltas([(0, 2)]), letters)
    assert (totals.ever("value"), again.ever("value")) == (15, 17)
