"""Names in place of route ids: label columns, and structs for people and files.

Of several candidates a label tells what they agree on, and `several` where they differ.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import polars as pl

from ..inventory.snapshot import Snapshot
from .narrowing import route_sets_of
from .route_lookups import route_lookups_of

SEVERAL: Final = "several"
ROUTE_LABELS: Final = {
    "route_kind": "kind",
    "route_namespace": "namespace",
    "route": "name",
    "route_host": "host",
    "route_path": "path",
    "tls": "tls",
}
"""Label and the column of `routes.ROUTES` that it tells."""

_STRUCT: Final = ("kind", "namespace", "name", "host", "path")


def route_labels(snapshot: Snapshot) -> list[pl.Expr]:
    """The label columns of `route_id` and `route_set`; text, "" where there is neither. `tls` is `true` or `false`."""
    names = _named(snapshot)
    row = pl.coalesce("route_id", pl.col("route_set") + route_lookups_of(snapshot).frame.height)
    return [pl.lit(names[column]).gather(row).fill_null("").alias(label) for label, column in ROUTE_LABELS.items()]


def route_structs(snapshot: Snapshot) -> dict[str, pl.Expr]:
    """`ingress` {kind, namespace, name, host, path}, null where the route is not one alone; a field that does not apply
    is null. `ingress_candidates` lists the same of the routes between which the row is ambiguous; null elsewhere.
    """
    routes = _structs(snapshot)
    sets = route_sets_of(snapshot).sets
    members = pl.DataFrame({"ids": sets}).with_row_index("set").explode("ids")
    candidates = members.with_columns(pl.lit(routes).gather("ids").alias("ids")).group_by("set", maintain_order=True)
    return {
        "ingress": pl.lit(routes).gather("route_id"),
        "ingress_candidates": pl.lit(candidates.agg("ids")["ids"]).gather("route_set"),
    }


def _structs(snapshot: Snapshot) -> pl.Series:
    frame = route_lookups_of(snapshot).frame
    return frame.select(
        pl.struct(pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in _STRUCT).alias("route")
    )["route"]


@lru_cache(maxsize=2)
def _named(snapshot: Snapshot) -> pl.DataFrame:
    """Label text by route id, then by route set."""
    columns = list(ROUTE_LABELS.values())
    single = route_lookups_of(snapshot).frame.select(pl.col(name).cast(pl.String) for name in columns)
    sets = route_sets_of(snapshot).sets
    members = pl.DataFrame({"ids": sets}).with_row_index("set").explode("ids")
    named = members.select("set", *(pl.lit(single[name]).gather("ids").alias(name) for name in columns))
    agreed = named.group_by("set", maintain_order=True).agg(
        pl.when(pl.col(name).n_unique() == 1).then(pl.col(name).first()).otherwise(pl.lit(SEVERAL)).alias(name)
        for name in columns
    )
    return pl.concat([single, agreed.drop("set")])
