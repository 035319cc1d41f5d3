"""Which endpoint an address meant when a connection began, on the node that saw it.

A loopback address is the observing node's own. An address that nothing held then is unknown where it is the cluster's
own, by its ranges or since something of the cluster held it at another time, and outside elsewhere.
"""

from __future__ import annotations

from functools import reduce
from operator import or_

import polars as pl

from ..inventory.addresses import is_loopback
from ..inventory.endpoints import OUTSIDE, UNKNOWN
from .lookups import Lookups

SIDES = ("src", "dst", "backend", "nat_src")
_ASKED_OF_ALL = SIDES[:3]


def join_ends(flows: pl.LazyFrame, lookups: Lookups) -> pl.LazyFrame:
    """Add `here`, the observing Node's number (null where the cluster has none of the name), and for each side
    `{side}_address` (number), `{side}_held` (row of `lookups.holders`) and `{side}_end`, the endpoint that held the
    address when the flow began; null where none did. Of `nat_src` they are null too where src is on a node: who
    masqueraded it is asked of the others alone. `src_place` and `backend_place` are the numbers of the Nodes that
    these ends are, or are on; null for what is on none.
    """
    here = lookups.node_index.number(pl.col("node").to_physical()).alias("here")
    joined = _joined(flows.with_columns(here), lookups, _ASKED_OF_ALL, is_asked=None)
    placed = joined.with_columns(
        pl.lit(lookups.places).gather(f"{side}_end").alias(f"{side}_place") for side in ("src", "backend")
    )
    return _joined(placed, lookups, SIDES[3:], pl.col("src_place").is_null())


def _joined(flows: pl.LazyFrame, lookups: Lookups, sides: tuple[str, ...], is_asked: pl.Expr | None) -> pl.LazyFrame:
    """Add address, held and end of the sides, of rows that are asked of."""

    def half(column: str) -> pl.Expr:
        return pl.col(column) if is_asked is None else pl.when(is_asked).then(column)

    numbered = flows.with_columns(
        lookups.index.number(half(f"{side}_hi"), half(f"{side}_lo")).alias(f"{side}_address") for side in sides
    )
    held = numbered.with_columns(lookups.holders.at(f"{side}_address", "start").alias(f"{side}_held") for side in sides)
    return held.with_columns(_end(lookups, side).alias(f"{side}_end") for side in sides)


def _end(lookups: Lookups, side: str) -> pl.Expr:
    is_own = is_loopback(pl.col(f"{side}_hi"), pl.col(f"{side}_lo"))
    node = pl.lit(lookups.node_names["node_id"]).gather("here")
    return pl.when(is_own).then(node).otherwise(lookups.holders.gather("endpoint_id", f"{side}_held"))


def endpoint_id(lookups: Lookups, side: str) -> pl.Expr:
    """The side's end, or the unknown, a named range or the outside where nothing held the address."""
    was_held = pl.lit(lookups.is_held).gather(f"{side}_address").fill_null(value=False)
    is_ours = was_held | _in_ranges(lookups, f"{side}_hi", f"{side}_lo")
    nobody = pl.when(is_ours).then(pl.lit(UNKNOWN, dtype=pl.UInt32)).otherwise(pl.lit(OUTSIDE, dtype=pl.UInt32))
    return lookups.outside.named(pl.coalesce(f"{side}_end", nobody), pl.col(f"{side}_hi"), pl.col(f"{side}_lo"))


def is_before_status(lookups: Lookups, side: str) -> pl.Expr:
    """Whether the flow began before the cluster said who holds the address."""
    return (pl.col("start") < lookups.holders.gather("seen", f"{side}_held")).fill_null(value=False)


def _in_ranges(lookups: Lookups, hi_column: str, lo_column: str) -> pl.Expr:
    """Whether an address lies in a range of the cluster. A range is a prefix, so its ends differ in one half only."""
    hi, lo = pl.col(hi_column), pl.col(lo_column)
    tests = [
        (hi == hi_from) & lo.is_between(lo_from, lo_to) if hi_from == hi_to else hi.is_between(hi_from, hi_to)
        for hi_from, lo_from, hi_to, lo_to in lookups.ranges
    ]
    return reduce(or_, tests, pl.lit(value=False))
