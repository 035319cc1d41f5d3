"""Mismatches as the pipeline marked them when it saw them: by the policies of that time, and once a connection.

The invariant: nothing is judged here; what a history of an earlier version did not mark is not found.
"""

from __future__ import annotations

from typing import Final

import polars as pl

_WHO: Final = tuple(
    f"{side}_{field}" for side in ("source", "destination") for field in ("namespace", "workload_kind", "workload")
)
ESTABLISHED_DENIED: Final = "established_denied"
DROPPED_ALLOWED: Final = "dropped_allowed"
_DENYING: Final = "^(deny|isolates) "


def judged_then(flows: pl.LazyFrame) -> tuple[int, int]:
    """How many connections of the history's rows were judged when they were seen, and how many there are."""
    opened = pl.col("opened").cast(pl.Int64)
    was_judged = pl.col("verdict").fill_null("") != ""
    found = flows.filter(pl.col("role") == "canonical").select(
        judged=opened.filter(was_judged).sum(), every=opened.sum()
    )
    judged, every = found.collect().row(0)
    return judged, every


def marked(flows: pl.LazyFrame) -> pl.DataFrame:
    """By workload pair and port of rows of `outputs.history.HISTORY`: `mismatch` (established_denied or
    dropped_allowed), `port`, `protocol`, `connections`, `first_seen`, `last_seen` and `policies`, as text: those that
    deny, or all that are responsible where the connection is allowed. The latest come first.
    """
    every = pl.concat_list("egress_policies", "ingress_policies").list.unique(maintain_order=True)
    denying = every.list.filter(pl.element().str.contains(_DENYING))
    order = ["last_seen", "mismatch", *_WHO, "port", "protocol"]
    return (
        flows.filter(pl.col("mismatch").fill_null("") != "")
        .with_columns(
            policies=pl.when(pl.col("mismatch") == ESTABLISHED_DENIED).then(denying).otherwise(every),
            port=pl.col("backend_port"),
        )
        .group_by("mismatch", *_WHO, "port", "protocol", "policies")
        .agg(
            connections=pl.len().cast(pl.Int64),
            first_seen=pl.col("start").min(),
            last_seen=pl.col("start").max(),
        )
        .sort(order, descending=[name == "last_seen" for name in order])
        .collect()
    )
