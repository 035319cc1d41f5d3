"""Connections of pods straight to an endpoint of Services: what was not dialled by any Service's address.

The clients of a headless Service have no other way; those of other Services go around them. The invariant: a
connection is judged by who was an endpoint when it began.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import polars as pl

from ..attribution import arrays
from ..attribution.arrays import Rows
from ..attribution.lookups import lookups_of
from ..attribution.services import redirected
from ..catalog import SERVICE
from ..inventory.snapshot import Snapshot

ROUTED: Final = ("route_id", "route_set")
"""Columns, where flows have them, that are not null where an Ingress or a Gateway's route led to the backend."""
_IDS: Final = pl.List(pl.UInt32())
_NONE: Final = pl.DataFrame(
    schema={
        "src_id": pl.UInt32,
        "start": pl.Int64,
        "opened": pl.UInt8,
        "service_id": pl.UInt32,
        "headless": _IDS,
    }
)


def direct_connections(flows: pl.DataFrame, is_connection: arrays.Mask, snapshot: Snapshot) -> pl.DataFrame:
    """Connections whose two ends are pods and whose answering end is an endpoint of a Service that was not dialled.

    Rows have `src_id`, `start`, `opened`, `service_id` (null where several Services have the endpoint) and `headless`
    (list of service ids: those among them that have no address of their own). What a route or a mesh leads to is not
    here: a proxy stands for the Service.
    """
    lookups = lookups_of(snapshot)
    rows = np.flatnonzero(is_connection & ~arrays.is_there(flows["service_id"]))
    rows = rows[_is_undirected(flows, rows, snapshot)]
    found = lookups.index.find([flows[half].to_numpy().take(rows) for half in ("backend_hi", "backend_lo")])
    rows, found = rows[found >= 0], found[found >= 0].astype(np.uint64)
    ports = flows["backend_port"].to_numpy().take(rows).astype(np.uint64)
    keys = (found << np.uint64(24)) | (ports << np.uint64(8)) | flows["protocol"].to_numpy().take(rows)
    facts = lookups.backends.rows(keys, flows["start"].to_numpy().take(rows))
    rows, facts = rows[facts >= 0], facts[facts >= 0]
    if not rows.size:
        return _NONE
    alone, together = (pl.lit(lists) for lists in _headless(snapshot))
    told = arrays.taken(lookups.backends.timeline.facts, facts, "answer", "answers")
    return (
        arrays.taken(flows, rows, "src_id", "start", "opened")
        .hstack([told["answer"].alias("service_id"), told["answers"]])
        .select(
            *("src_id", "start", "opened", "service_id"),
            headless=pl.coalesce(alone.gather("service_id"), together.gather("answers")),
        )
    )


def _is_undirected(flows: pl.DataFrame, rows: Rows, snapshot: Snapshot) -> arrays.Mask:
    """Which of the rows go from pod to pod with nothing that led them there."""
    found = ~redirected(flows, rows)
    is_pod = lookups_of(snapshot).is_pod.to_numpy()
    for end in ("src_id", "dst_id"):
        found &= is_pod.take(flows[end].to_numpy().take(rows))
    for name in ("service_set", *ROUTED):
        if name in flows.columns and flows[name].null_count() < flows.height:
            found &= ~arrays.is_there(flows[name]).take(rows)
    if "mesh" in flows.columns:
        found &= arrays.is_code(flows["mesh"], "none").take(rows)
    return found


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
