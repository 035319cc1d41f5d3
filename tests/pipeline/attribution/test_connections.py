"""Rows of one connection find each other, however many there are, as looking at every pair would have it."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.attribution.connections import Connections, among, connections_of, newest

NODES = pl.Series(["n1", "n2"], dtype=pl.Categorical)
"""Kept, since the codes of names that nobody has any more are given to others."""
PAIR = st.tuples(st.sampled_from(["n1", "n2"]), st.sampled_from([0, 1, 2, 2**64 - 1]))
PAIRS = st.lists(PAIR, max_size=12)


def connections(pairs: list[tuple[str, int]]) -> Connections:
    schema = {"node": pl.Categorical, "flow_id": pl.UInt64}
    return connections_of(pl.DataFrame(pairs, schema=schema, orient="row"))


@settings(deadline=None)  # a shared machine may pause
@given(PAIRS, PAIRS, st.integers(0, 2**12 - 1))
def test_what_is_among_others_is_found(pairs: list[tuple[str, int]], others: list[tuple[str, int]], bits: int) -> None:
    is_asked = np.array([bool(bits >> place & 1) for place in range(len(pairs))], np.bool_)
    found = among(connections(pairs), is_asked, connections(others))
    assert found.tolist() == [row for row, pair in enumerate(pairs) if is_asked[row] and pair in others]


@settings(deadline=None)
@given(
    st.lists(st.tuples(PAIR, st.integers(0, 5), st.booleans()), max_size=12),
    st.lists(st.tuples(PAIR, st.integers(0, 6)), max_size=12),
)
def test_the_newest_before_a_row_is_found(
    told: list[tuple[tuple[str, int], int, bool]], asked: list[tuple[tuple[str, int], int]]
) -> None:
    told = sorted(told, key=lambda row: row[1])
    order = np.array([place for _, place, _ in told], np.int64)
    is_told = np.array([counts for _, _, counts in told], np.bool_)
    before = np.array([place for _, place in asked], np.int64)
    found = newest(
        connections([pair for pair, _, _ in told]), is_told, order, connections([pair for pair, _ in asked]), before
    )
    assert found.tolist() == [
        max((row for row, (own, at, counts) in enumerate(told) if counts and own == pair and at < place), default=-1)
        for pair, place in asked
    ]


@given(PAIRS)
def test_the_newest_row_of_each_connection(pairs: list[tuple[str, int]]) -> None:
    assert connections(pairs).newest().tolist() == sorted({pair: row for row, pair in enumerate(pairs)}.values())


def test_many_connections_are_told_apart() -> None:
    ids = [number << 40 for number in range(20_000)]
    every = connections([("n1", number) for number in ids])
    other = connections([("n2", number) for number in ids])
    assert among(every, np.ones(20_000, np.bool_), other).size == 0
    assert among(every, np.ones(20_000, np.bool_), every).tolist() == list(range(20_000))
