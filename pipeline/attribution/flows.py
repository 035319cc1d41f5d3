"""Attribution of flows: both ends, the Service dialled, and the row's role in counting once."""

from __future__ import annotations

from typing import Final

import polars as pl

from ..inventory.endpoints import UNKNOWN
from ..inventory.snapshot import Snapshot
from .ends import endpoint_id, join_ends
from .lookups import ANY_NODE, Lookups, dial_key, lookups_of
from .roles import role

CERTAINTY: Final[pl.Enum] = pl.Enum(["exact", "unknown"])

_SCRATCH: Final = ("here", "src_end", "dst_end", "backend_end", "nat_src_end", "dial", "dial_key")


def attribute(flows: pl.LazyFrame, snapshot: Snapshot) -> pl.LazyFrame:
    """Flows with the ids of what they mean under `snapshot`; all input columns and the order of rows are kept.

    `flows` have the columns of `collector.schema.FLOWS` that name addresses, ports and the protocol, and `node`
    (Categorical, who saw the row). Added are
    - `src_id`, `dst_id` (UInt32, rows of `snapshot.endpoints`): who opened the connection and who answered. Where a
      Service address was dialled and no backend is known, dst is the Service itself;
    - `service_id` (UInt32, row of `snapshot.services`, null where no Service was dialled) and `via`;
    - `role`, as `roles` tells, and `attribution`: `unknown` where an end is an address of the cluster's own that
      nothing holds or that two hold alike, `exact` elsewhere.
    """
    lookups = lookups_of(snapshot)
    seen = flows.join(lookups.nodes.lazy(), on="node", how="left", maintain_order="left")
    for side in ("src", "backend", "nat_src"):
        seen = join_ends(seen, lookups, side, f"{side}_end")
    seen = join_ends(seen, lookups, "dst", "dst_end", "dial")
    return (
        join_service(seen, lookups)
        .with_columns(
            src_id=endpoint_id(lookups, "src", "src_end"),
            dst_id=_dst_id(lookups),
            role=role(lookups),
        )
        .with_columns(
            attribution=pl.when((pl.col("src_id") == UNKNOWN) | (pl.col("dst_id") == UNKNOWN))
            .then(pl.lit("unknown", dtype=CERTAINTY))
            .otherwise(pl.lit("exact", dtype=CERTAINTY))
        )
        .drop(_SCRATCH)
    )


def join_service(flows: pl.LazyFrame, lookups: Lookups) -> pl.LazyFrame:
    """Add `service_id` and `via` by the address, port and protocol dialled.

    Node ports answer on every address of a node, also on those that the Node object does not list: an address that
    nothing holds, but whose packets were redirected to a backend, was such a one.
    """
    is_unlisted = pl.col("dst_end").is_null() & _is_redirected()
    is_own = (pl.col("dst_end") == pl.col("here")).fill_null(value=False)
    dial = pl.when(pl.col("dial").is_null() & (is_unlisted | is_own)).then(ANY_NODE).otherwise("dial")
    return flows.with_columns(dial_key=dial_key(dial, pl.col("dst_port"), pl.col("protocol"))).join(
        lookups.dials.lazy(), on="dial_key", how="left", maintain_order="left"
    )


def _dst_id(lookups: Lookups) -> pl.Expr:
    """The backend's endpoint; the Service's own where it was dialled and nobody is known to have answered."""
    nobody_answered = ~_is_redirected() & pl.lit(lookups.places).gather("backend_end").is_null()
    service = pl.lit(lookups.service_endpoints).gather("service_id")
    return pl.coalesce(pl.when(nobody_answered).then(service), endpoint_id(lookups, "backend", "backend_end"))


def _is_redirected() -> pl.Expr:
    return (pl.col("backend_lo") != pl.col("dst_lo")) | (pl.col("backend_hi") != pl.col("dst_hi"))
