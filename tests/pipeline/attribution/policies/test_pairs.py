"""The table of judged pairs against a dictionary."""

from __future__ import annotations

import numpy as np
import polars as pl

from pipeline.attribution.policies.engine import PAIR
from pipeline.attribution.policies.pairs import PairTable, Said

WIDTHS = {"src_id": 32, "dst_id": 32, "backend_port": 16, "protocol": 8}
DTYPES = {"src_id": pl.UInt32, "dst_id": pl.UInt32, "backend_port": pl.UInt16, "protocol": pl.UInt8}


def pairs_of(random: np.random.Generator, rows: int, few: int) -> pl.DataFrame:
    """Rows of `PAIR` with few values a column, so that pairs differ in one column alone."""
    columns = {}
    for name in PAIR:
        values = random.integers(0, 2 ** WIDTHS.get(name, 64) - 1, few, dtype=np.uint64, endpoint=True)
        columns[name] = pl.Series(random.choice(values, rows)).cast(DTYPES.get(name, pl.UInt64))
    return pl.DataFrame(columns)


def said_of(pairs: pl.DataFrame) -> Said:
    numbers = pairs.with_row_index("n")["n"].to_numpy()
    return Said((numbers % 3).astype(np.uint8), numbers, numbers + np.uint32(1))


def test_what_was_added_is_found_and_nothing_else() -> None:
    random = np.random.default_rng(7)
    table = PairTable()
    known: dict[tuple[int, ...], int] = {}
    offset = np.uint32(0)
    for _ in range(12):
        pairs = pairs_of(random, 4_000, 6).unique(maintain_order=True)
        keys = table.keys(pairs)
        is_known, said = table.find(keys)
        for row, found, verdict, egress, ingress in zip(
            pairs.rows(), is_known, said.verdict, said.egress, said.ingress, strict=True
        ):
            assert found == (row in known)
            if found:
                assert (verdict, egress, ingress) == (known[row] % 3, known[row], known[row] + 1)
        fresh = pairs.filter(~pl.Series(is_known))
        numbers = np.arange(fresh.height, dtype=np.uint32) + offset
        offset += np.uint32(fresh.height)
        table.add(table.keys(fresh), Said((numbers % 3).astype(np.uint8), numbers, numbers + np.uint32(1)))
        known |= dict(zip(fresh.rows(), numbers.tolist(), strict=True))
    assert len(table) == len(known) > 30_000


def test_a_table_is_bounded_and_keeps_what_is_asked_for() -> None:
    random = np.random.default_rng(8)
    table = PairTable(most=1_000)
    asked = pairs_of(random, 50, 50).unique()
    table.add(table.keys(asked), said_of(asked))
    for _ in range(40):
        others = pairs_of(random, 300, 300).unique()
        table.add(table.keys(others), said_of(others))
        is_known, said = table.find(table.keys(asked))
        assert is_known.all()
        assert (said.egress == said_of(asked).egress).all()
        assert len(table) <= 2 * 1_000 + 2 * 300


def test_a_pair_that_comes_twice_at_once_is_held_once() -> None:
    pairs = pairs_of(np.random.default_rng(9), 10, 10).unique()
    table = PairTable()
    twice = pl.concat([pairs, pairs])
    said = said_of(pairs)
    table.add(table.keys(twice), Said(*(np.concatenate([part, part]) for part in vars(said).values())))
    assert len(table) == pairs.height
