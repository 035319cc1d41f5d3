"""Connections of pods straight to an endpoint of Services: what was not dialled by any Service's address.

The clients of a headless Service have no other way; those of other Services go around them. The invariant: a
connection is judged by who was an endpoint when it began.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import polars as pl

from ..attribution.lookups import ADDRESS, lookups_of, packed
from ..attribution.services import is_redirected
from ..catalog import SERVICE
from ..inventory.snapshot import Snapshot

ROUTED: Final = ("route_id", "route_set")
"""Columns, where flows have them, that are not null where an Ingress or a Gateway's route led to the backend."""
_IDS: Final = pl.List(pl.UInt32())


def direct_connections(opened: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame:
    """Connections whose two ends are pods and whose answering end is an endpoint of a Service that was not dialled.

    Rows have `src_id`, `start`, `opened`, `service_id` (null where several Services have the endpoint) and `headless`
    (list of service ids: those among them that have no address of their own). What a route or a mesh leads to is not
    here: a proxy stands for the Service.
    """
    lookups = lookups_of(snapshot)
    kinds = pl.lit(snapshot.endpoints["kind"].cast(pl.String))
    is_pod = [kinds.gather(pl.col(end)) == "Pod" for end in ("src_id", "dst_id")]
    is_direct = pl.col("service_id").is_null() & pl.col("service_set").is_null() & ~is_redirected()
    routed = [pl.col(name).is_null() for name in ROUTED if name in opened.columns]
    if "mesh" in opened.columns:
        routed.append(pl.col("mesh") == "none")
    numbered = (
        opened.lazy()
        .filter(is_direct, *is_pod, *routed)
        .drop("service_id")
        .join(
            lookups.addresses.lazy().select(backend_hi=ADDRESS[0], backend_lo=ADDRESS[1], address="address"),
            on=["backend_hi", "backend_lo"],
        )
    )
    key = packed(pl.col("address"), pl.col("backend_port"), pl.col("protocol"))
    alone, together = (pl.lit(lists) for lists in _headless(snapshot))
    return (
        lookups.backends.join(numbered, key, "row")
        .filter(pl.col("row").is_not_null())
        .with_columns(
            lookups.backends.gather("answer", "row").alias("service_id"),
            lookups.backends.gather("answers", "row").alias("answers"),
        )
        .select(
            "src_id",
            "start",
            "opened",
            "service_id",
            headless=pl.coalesce(alone.gather("service_id"), together.gather("answers")),
        )
        .collect()
    )


@lru_cache(maxsize=2)
def _headless(snapshot: Snapshot) -> tuple[pl.Series, pl.Series]:
    """By service id, and by row of the sets of service ids that share an endpoint: the headless ones, as lists."""
    declared = snapshot.tracked["service_ports"].filter("is_headless").select(SERVICE).unique()
    ids = snapshot.services.join(declared, on=SERVICE, how="semi")["service_id"]
    every = snapshot.services.select(ids=pl.concat_list("service_id"))["ids"]
    sets = lookups_of(snapshot).backends.sets
    return _kept(every, ids), _kept(sets, ids)


def _kept(lists: pl.Series, ids: pl.Series) -> pl.Series:
    """The members of each list that are among `ids`."""
    members = lists.alias("id").to_frame().with_row_index("row")
    kept = members.explode("id").filter(pl.col("id").is_in(ids.implode())).group_by("row").agg("id")
    joined = members.select("row").join(kept, on="row", how="left", maintain_order="left")
    return joined["id"].cast(_IDS).fill_null(pl.Series([[]], dtype=_IDS))
