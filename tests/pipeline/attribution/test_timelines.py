"""Numbers of keys, and what a key meant at an instant, against dictionaries and lists."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.attribution.answers import NO_VIA, answers_of
from pipeline.attribution.keyindex import KeyIndex
from pipeline.attribution.timelines import Timeline
from pipeline.inventory.services import VIAS
from pipeline.inventory.spans import BEGINNING, END

PART = st.sampled_from([0, 1, 2, 3, 2**32, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)


@given(st.lists(st.tuples(PART, PART), max_size=60), st.lists(st.tuples(PART, PART), max_size=60))
def test_a_key_has_the_number_of_its_first_row(keys: list[tuple[int, int]], asked: list[tuple[int, int]]) -> None:
    index = KeyIndex([np.array([key[part] for key in keys], np.uint64) for part in (0, 1)])
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    assert len(index) == len(numbers)
    assert index.numbers.tolist() == [numbers[key] for key in keys]
    queries = [*keys, *asked]
    found = index.find([np.array([key[part] for key in queries], np.uint64) for part in (0, 1)])
    assert found.tolist() == [numbers.get(key, -1) for key in queries]


@pytest.mark.parametrize("upper", [0, 7])
def test_a_part_in_which_all_keys_are_alike_tells_others_apart(upper: int) -> None:
    lower = np.arange(50, dtype=np.uint64)
    alike = np.full(50, upper, np.uint64)
    index = KeyIndex([alike, lower])
    assert index.find([alike, lower]).tolist() == list(range(50))
    assert index.find([alike + np.uint64(1), lower]).tolist() == [-1] * 50
    alone = KeyIndex([alike[:1], lower[:1]])
    assert alone.find([alike, lower]).tolist() == [0, *[-1] * 49]


def test_keys_that_meet_in_the_table_are_told_apart() -> None:
    """A full range of neighbours and of multiples fills runs of slots."""
    keys = np.concatenate([np.arange(20_000), np.arange(20_000) << 32, np.arange(20_000) << 40]).astype(np.uint64)
    index = KeyIndex([keys])
    distinct = np.unique(keys)
    assert len(index) == len(distinct)
    assert (index.keys[0][index.find([keys])] == keys).all()
    assert (index.find([distinct + np.uint64(1 << 63)]) == -1).all()


@st.composite
def spans(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """Key, since and until; those of a key disjoint."""
    rows = []
    for key in draw(st.lists(st.integers(0, 5), unique=True)):
        edges = sorted(draw(st.sets(st.sampled_from([BEGINNING, *range(12), END]), max_size=10)))
        rows += [(key, *edges[at : at + 2]) for at in range(0, len(edges) - 1, draw(st.sampled_from([1, 2])))]
    return draw(st.permutations(rows))


@settings(max_examples=200)
@given(spans())
def test_a_key_is_in_the_span_that_holds_the_instant(rows: list[tuple[int, int, int]]) -> None:
    facts = pl.DataFrame(
        [(number, *row) for number, row in enumerate(rows)],
        schema={"fact": pl.Int64(), "key": pl.Int32(), "since": pl.Int64(), "until": pl.Int64()},
        orient="row",
    )
    timeline = Timeline(facts, facts["key"].to_numpy(), 6)
    asked = [(key, instant) for key in [*range(6), -1] for instant in (BEGINNING, *range(-1, 13), END - 1)]
    told = timeline.rows_at(np.array([key for key, _ in asked]), np.array([instant for _, instant in asked]))
    facts_told = [timeline.facts["fact"][row] if row >= 0 else None for row in told.tolist()]
    assert facts_told == [
        next((n for n, (own, since, until) in enumerate(rows) if own == key and since <= at < until), None)
        for key, at in asked
    ]
    assert timeline.is_known.to_list() == [any(row[0] == key for row in rows) for key in range(6)]


CLAIM = st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 8), st.integers(1, 5))


@settings(max_examples=200)
@given(st.lists(CLAIM, max_size=8))
def test_an_answer_stands_where_all_claims_agree(claims: list[tuple[int, int, int, int]]) -> None:
    """Key, answer, since and length of any claims: what holds at an instant is one answer, or all in a set."""
    rows = [(key, answer, "backend", since, since + length) for key, answer, since, length in claims]
    schema = {"key": pl.UInt64(), "answer": pl.UInt32(), "via": VIAS, "since": pl.Int64(), "until": pl.Int64()}
    answers = answers_of(pl.DataFrame(rows, schema=schema, orient="row"))
    asked = [(key, start) for key in range(4) for start in range(-1, 15)]
    facts = answers.rows(np.array([key for key, _ in asked], np.uint64), np.array([start for _, start in asked]))
    for (key, start), fact in zip(asked, facts, strict=True):
        held = {answer for own, answer, since, length in claims if own == key and since <= start < since + length}
        several = answers.several[fact]
        assert answers.answer[fact] == (min(held) if len(held) == 1 else -1)
        assert answers.via[fact] == (VIAS.categories.to_list().index("backend") if len(held) == 1 else NO_VIA)
        assert (answers.sets[int(several)].to_list() if several >= 0 else None) == (
            sorted(held) if len(held) > 1 else None
        )
