"""When Service ports had no ready endpoint, as spans.

The invariant: the spans of a Service port are disjoint, and every port that has no ready endpoint at all is always in.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import polars as pl

from .snapshot import Snapshot
from .spans import BEGINNING, END, SPAN

LACKING: Final = pl.Schema({"service_id": pl.UInt32(), **SPAN})


@lru_cache(maxsize=2)
def lacking(snapshot: Snapshot) -> pl.DataFrame:
    """The spans in which a Service port had no ready endpoint, by LACKING, in order of service id and time."""
    ready = snapshot.backends.filter("is_ready").select("service_id", "since", "until")
    every = snapshot.services.select("service_id", since=pl.lit(BEGINNING, pl.Int64), until=pl.lit(END, pl.Int64))
    steps = pl.concat(
        [
            every.select("service_id", at="since", step=pl.lit(0, pl.Int32)),
            ready.select("service_id", at="since", step=pl.lit(1, pl.Int32)),
            ready.select("service_id", at="until", step=pl.lit(-1, pl.Int32)),
        ]
    )
    counts = (
        steps.group_by("service_id", "at")
        .agg(pl.col("step").sum())
        .sort("service_id", "at")
        .with_columns(pl.col("step").cum_sum().over("service_id"), until=pl.col("at").shift(-1, fill_value=END))
    )
    is_last = pl.col("service_id") != pl.col("service_id").shift(-1)
    spans = counts.with_columns(until=pl.when(is_last.fill_null(value=True)).then(pl.lit(END)).otherwise("until"))
    found = spans.filter(pl.col("step") == 0, pl.col("at") < pl.col("until"))
    return found.select("service_id", since="at", until="until").match_to_schema(LACKING)
