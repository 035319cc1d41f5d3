"""What tests of the care of tables look at."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
from deltalake import DeltaTable

from pipeline.lake.store import Store
from pipeline.lake.tables import FLOWS, SUMS
from tests.pipeline.lake.histories import NOON

LATER = NOON + timedelta(hours=2)


def opened(store: Store, table: Any = FLOWS) -> DeltaTable:
    at = store.open(table)
    assert at is not None
    return at


def sums(rows: pl.LazyFrame) -> dict[str, int]:
    return rows.select(pl.col(*SUMS).cast(pl.Int64).sum()).collect().to_dicts()[0]


def oracle(rows: pl.DataFrame) -> dict[str, int]:
    """What roll-ups must add up to, row by row."""
    told = [row for row in rows.to_dicts() if row["role"] == "canonical"]
    counted = {"observations": len(told), "connections": sum(row["opened"] for row in told)}
    for outcome in ("refused", "reset", "no_reply"):
        counted[outcome] = sum(row["outcome"] == outcome for row in told)
    return counted | {name: sum(row[name] for row in told) for name in SUMS if name not in counted}
