"""Rows that wait for the cluster's state: none is lost, none waits longer than it may."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from pipeline.awaiting import Awaiting

SECOND = 1_000_000_000


def rows(*starts: float) -> pl.DataFrame:
    columns = {"start": [round(s * SECOND) for s in starts], "n": list(range(len(starts)))}
    return pl.DataFrame(columns, schema={"start": pl.Int64, "n": pl.Int64})


def numbers(frame: pl.DataFrame) -> list[int]:
    return frame["n"].to_list()


def test_rows_of_a_time_that_is_known_go_on_at_once() -> None:
    waiting = Awaiting(2.0)
    assert numbers(waiting.take(rows(1, 2, 3, 4), 3 * SECOND, 0)) == [0, 1]
    assert waiting.rows == 2
    assert waiting.release(3 * SECOND, 0.1) == []


def test_the_others_go_on_when_the_state_has_caught_up() -> None:
    waiting = Awaiting(2.0)
    waiting.take(rows(3, 4), 3 * SECOND, 0)
    (part,) = waiting.release(3 * SECOND + 1, 0.5)
    assert (numbers(part.flows), part.is_final, part.late) == ([0], False, 0)
    assert part.flows.columns == ["start", "n"]
    (part,) = waiting.release(5 * SECOND, 0.6)
    assert (numbers(part.flows), waiting.rows) == ([1], 0)


def test_a_state_that_stands_still_holds_nothing_for_good() -> None:
    waiting = Awaiting(2.0)
    waiting.take(rows(3, 4), 3 * SECOND, 10)
    assert waiting.release(3 * SECOND, 11.9) == []
    (part,) = waiting.release(3 * SECOND, 12)
    assert (numbers(part.flows), part.is_final, part.late) == ([0, 1], True, 2)


def test_young_rows_with_an_unknown_end_are_judged_once_more() -> None:
    waiting = Awaiting(2.0)
    flows = rows(1, 7, 8, 9)
    told = waiting.doubt(flows, pl.Series([True, False, True, True]), 9 * SECOND, 0)
    assert told.to_list() == [True, True, False, False]
    (part,) = waiting.release(10 * SECOND + 1, 1)
    assert (numbers(part.flows), part.is_final, part.late) == ([2], True, 0)
    (part,) = waiting.release(10 * SECOND + 1, 2)
    assert (numbers(part.flows), part.is_final, part.late) == ([3], True, 0)


def test_rows_that_expect_a_name_wait_their_time_whatever_the_state_says() -> None:
    waiting = Awaiting(2.0)
    assert waiting.expect(rows(1, 7, 8), pl.Series([True, False, True]), 0).to_list() == [False, True, False]
    assert waiting.release(1 << 62, 1.9) == []
    (part,) = waiting.release(1 << 62, 2)
    assert (numbers(part.flows), part.is_final, part.late) == ([0, 2], True, 0)
    assert part.flows.columns == ["start", "n"]


def test_too_many_rows_push_the_oldest_on() -> None:
    waiting = Awaiting(2.0, max_rows=3)
    waiting.take(rows(9, 9), SECOND, 0)
    waiting.take(rows(8, 8), SECOND, 0.1)
    (part,) = waiting.release(SECOND, 0.2)
    assert (part.flows.height, part.is_final, part.late, waiting.rows) == (2, True, 2, 2)


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 20), max_size=5), st.integers(0, 3), st.integers(0, 2)),
        min_size=1,
        max_size=20,
    )
)
def test_every_row_comes_out_once_and_in_time(steps: list[tuple[list[int], int, int]]) -> None:
    """At each step rows come, the state moves on by some seconds and the clock by some."""
    waiting = Awaiting(2.0, max_rows=8)
    known, now, came, out = 0, 0.0, 0, 0
    for starts, state_moves, clock_moves in steps:
        out += waiting.take(rows(*starts), known * SECOND, now).height
        came += len(starts)
        known += state_moves
        now += clock_moves
        for part in waiting.release(known * SECOND, now):
            out += part.flows.height
        assert came == out + waiting.rows
        assert waiting.rows <= 8
    assert sum(part.flows.height for part in waiting.release(known * SECOND, now + 2)) == came - out


def test_a_row_waits_until_the_state_has_settled() -> None:
    awaiting = Awaiting(wait_s=5.0, settle_s=2.0)
    flows = pl.DataFrame({"start": [10 * SECOND, 12 * SECOND]})
    assert awaiting.take(flows, 13 * SECOND, 0.0)["start"].to_list() == [10 * SECOND]
    assert awaiting.release(14 * SECOND, 1.0) == []
    (released,) = awaiting.release(14 * SECOND + 1, 1.0)
    assert released.flows["start"].to_list() == [12 * SECOND]
    assert (released.late, awaiting.rows) == (0, 0)
