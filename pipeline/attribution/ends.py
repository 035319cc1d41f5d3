"""Which endpoint an address means, on the node that saw it.

A loopback address is the observing node's own. An address that nothing holds is unknown inside the cluster's ranges and
outside elsewhere.
"""

from __future__ import annotations

from functools import reduce
from operator import or_

import polars as pl

from ..inventory.addresses import is_loopback
from ..inventory.endpoints import OUTSIDE, UNKNOWN
from .lookups import Lookups


def join_ends(flows: pl.LazyFrame, lookups: Lookups, side: str, end: str, dial: str | None = None) -> pl.LazyFrame:
    """Add the column `end`: the endpoint that holds the address in `{side}_hi`, `{side}_lo`; null where none does.

    `dial` names a second column for the address's dial number. Needs `here`, the observing Node's endpoint.
    """
    hi, lo = f"{side}_hi", f"{side}_lo"
    right = lookups.ends.lazy().select(
        pl.col("addr_hi").alias(hi),
        pl.col("addr_lo").alias(lo),
        pl.col("end").alias(end),
        *([pl.col("dial").alias(dial)] if dial else []),
    )
    loopback = is_loopback(pl.col(hi), pl.col(lo))
    return flows.join(right, on=[hi, lo], how="left", maintain_order="left").with_columns(
        pl.when(loopback).then("here").otherwise(end).alias(end)
    )


def endpoint_id(lookups: Lookups, side: str, end: str) -> pl.Expr:
    """The endpoint in column `end`, or the unknown or the outside by the ranges of the cluster."""
    inside = in_ranges(lookups, pl.col(f"{side}_hi"), pl.col(f"{side}_lo"))
    nobody = pl.when(inside).then(pl.lit(UNKNOWN, dtype=pl.UInt32)).otherwise(pl.lit(OUTSIDE, dtype=pl.UInt32))
    return pl.coalesce(end, nobody)


def in_ranges(lookups: Lookups, hi: pl.Expr, lo: pl.Expr) -> pl.Expr:
    """Whether an address lies in a range of the cluster. A range is a prefix, so its ends differ in one half only."""
    tests = [
        (hi == hi_from) & lo.is_between(lo_from, lo_to) if hi_from == hi_to else hi.is_between(hi_from, hi_to)
        for hi_from, lo_from, hi_to, lo_to in lookups.ranges
    ]
    return reduce(or_, tests, pl.lit(value=False))
