"""What workloads exchange is told once, whenever somebody asks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.aggregate.rollups import CONVERSATION_MEASURES, measures_of
from pipeline.aggregate.tallies import IDS, Tallies
from pipeline.inventory.services import VIAS

MOST = 2**64 - 1
SCHEMA = pl.Schema(
    {
        "src_id": pl.UInt32(),
        "dst_id": pl.UInt32(),
        "service_id": pl.UInt32(),
        "via": VIAS,
        "protocol": pl.UInt8(),
        **dict.fromkeys(CONVERSATION_MEASURES, pl.UInt64()),
    }
)
ids = st.sampled_from([0, 1, 70_000])
rows = st.tuples(
    ids,
    ids,
    st.none() | ids,
    st.none() | st.sampled_from(VIAS.categories.to_list()[:2]),
    st.sampled_from([6, 17, 255]),
    *[st.just(0) | st.integers(0, 2**50)] * len(CONVERSATION_MEASURES),
)
Sums = dict[tuple[object, ...], list[int]]


def frame(*of: tuple[object, ...]) -> pl.DataFrame:
    return pl.DataFrame(of, schema=SCHEMA, orient="row")


def added(tallies: Tallies, sums: pl.DataFrame) -> None:
    tallies.add(sums, measures_of(sums, *CONVERSATION_MEASURES))


def told(tallies: Tallies) -> Sums:
    taken = tallies.taken()
    found = {row[: len(IDS)]: list(row[len(IDS) :]) for row in taken.iter_rows()}
    assert len(found) == taken.height
    return found


@settings(deadline=None)  # a shared machine may pause
@given(st.lists(st.lists(st.lists(rows, max_size=10), max_size=3), max_size=3))
def test_sums_are_those_of_the_rows_since_they_were_taken(turns: list[list[list[tuple[object, ...]]]]) -> None:
    tallies = Tallies()
    for turn in turns:
        wanted: dict[tuple[object, ...], Counter[str]] = {}
        for batch in turn:
            added(tallies, frame(*batch))
            for row in batch:
                sums = wanted.setdefault(row[: len(IDS)], Counter())
                sums.update(dict(zip(CONVERSATION_MEASURES, row[len(IDS) :], strict=True)))
        assert told(tallies) == {key: [sums[name] for name in CONVERSATION_MEASURES] for key, sums in wanted.items()}


def test_what_adds_nothing_was_there_all_the_same() -> None:
    tallies = Tallies()
    nothing = (1, 2, None, None, 6, *[0] * len(CONVERSATION_MEASURES))
    added(tallies, frame(nothing))
    assert told(tallies) == {nothing[:5]: [0] * len(CONVERSATION_MEASURES)}
    assert told(tallies) == {}


def test_nonsense_stays_at_the_end_of_what_can_be_told() -> None:
    tallies = Tallies()
    beside = (9, 9, None, None, 6, *[7] * len(CONVERSATION_MEASURES))
    added(tallies, frame((1, 2, None, None, 6, MOST - 5, *[2**63] * (len(CONVERSATION_MEASURES) - 1)), beside))
    for _ in range(3):
        added(tallies, frame((1, 2, None, None, 6, *[2**62] * len(CONVERSATION_MEASURES))))
    assert told(tallies) == {
        (1, 2, None, None, 6): [MOST] * len(CONVERSATION_MEASURES),
        beside[:5]: [7] * len(CONVERSATION_MEASURES),
    }
    added(tallies, frame(beside))
    assert told(tallies) == {beside[:5]: [7] * len(CONVERSATION_MEASURES)}


def test_many_combinations_come_with_what_they_stand_for() -> None:
    tallies = Tallies()
    random = np.random.default_rng(1)
    wanted: Counter[tuple[int, int]] = Counter()
    for _ in range(4):
        pairs = random.integers(0, 60, (3_000, 2), dtype=np.uint32)
        told_by = {"src_id": pl.Series(pairs[:, 0]), "dst_id": pl.Series(pairs[:, 1])}
        rest = {
            "service_id": pl.Series([None] * 3_000, dtype=pl.UInt32),
            "via": pl.Series([None] * 3_000, dtype=VIAS),
            "protocol": pl.Series([6] * 3_000, dtype=pl.UInt8),
        }
        tallies.add(told_by | rest, {"bytes": np.ones(3_000, np.uint64)})
        wanted.update(map(tuple, pairs.tolist()))
    assert len(tallies) == len(wanted)
    assert {key[:2]: sums[0] for key, sums in told(tallies).items()} == wanted


def test_forgotten_combinations_are_told_no_more() -> None:
    tallies = Tallies()
    added(tallies, frame((1, 2, None, None, 6, *[1] * len(CONVERSATION_MEASURES))))
    tallies.forget()
    assert not len(tallies)
    assert told(tallies) == {}
