"""The ends of recorded pairs in the cluster of today, so that today's policies, or tomorrow's, can judge them.

A pod that is gone is judged as a pod of its workload, which has the same labels; a machine that is gone, and all beyond
the cluster, by the address. The invariant: what can be found no way is left out with a reason, never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from ..attribution.lookups import lookups_of
from ..inventory.addresses import halves_of, is_v4
from ..inventory.endpoints import OUTSIDE
from ..inventory.snapshot import Snapshot
from ..inventory.spans import END
from .masqueraded import seen_as

BY: Final = pl.Enum(["pod", "workload", "address"])
"""How an end was found: itself, another pod of its workload, by its address alone."""

_ENDS: Final = (("source", "src"), ("destination", "backend"))
_LEFT_OUT: Final = {
    "Service": "only the Service is known, not who answered",
    "Unknown": "an address of the cluster that nothing held",
    "Pod": "the pod is gone, and so is its workload",
}


@dataclass(frozen=True, slots=True)
class Judged:
    """Pairs that can be judged today, and how many connections of the record cannot."""

    pairs: pl.DataFrame
    """`record.PAIRS` and what policies ask (`policies.PAIR`), `source_by` and `destination_by` (`BY`), and
    `seen_as` (`masqueraded.seen_as`)."""
    left_out: pl.DataFrame
    """`reason`, `side`, `pairs` and `connections`, the most first."""


def judged(pairs: pl.DataFrame, snapshot: Snapshot) -> Judged:
    """Find both ends of pairs among what is there at the end of the snapshot."""
    for side, end in _ENDS:
        pairs = _find(pairs, side, end, snapshot)
    pairs = _on_own_nodes(pairs.rename({"backend_id": "dst_id"}).with_columns(backend_port=pl.col("port")), snapshot)
    is_whole = pl.col("src_id").is_not_null() & pl.col("dst_id").is_not_null()
    whole = pairs.filter(is_whole)
    return Judged(whole.with_columns(seen_as(whole, snapshot)), _left_out(pairs.filter(~is_whole)))


def _on_own_nodes(pairs: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame:
    """Let what came from a pod's own node come from the one that it is on now, or that its stand-in is on."""
    lookups = lookups_of(snapshot)
    nodes = pl.lit(lookups.node_names["node_id"])
    place = pl.lit(pl.Series(lookups.place)).gather(pl.col("dst_id"))
    is_its_own = pl.col("from_own_node") & (place >= 0)
    own = nodes.gather(pl.when(is_its_own).then(place).otherwise(0), null_on_oob=True)
    return pairs.with_columns(src_id=pl.when(is_its_own).then(own).otherwise("src_id"))


def living(snapshot: Snapshot) -> pl.DataFrame:
    """Endpoints that hold an address now: id, addr_hi, addr_lo and is_v6, one row a family."""
    held = snapshot.addresses.filter(pl.col("until") == END)
    return (
        held.with_columns(is_v6=~is_v4(pl.col("addr_hi"), pl.col("addr_lo")))
        .sort("endpoint_id", "addr_hi", "addr_lo")
        .group_by("endpoint_id", "is_v6", maintain_order=True)
        .agg(pl.col("addr_hi", "addr_lo").first())
        .select(pl.col("endpoint_id").alias("id"), "addr_hi", "addr_lo", "is_v6")
    )


def pods_now(snapshot: Snapshot) -> pl.DataFrame:
    """The newest endpoint of every pod by namespace and name, those without an address last: `ENDPOINTS` columns."""
    has_address = pl.col("id").is_in(living(snapshot)["id"].unique().implode())
    return (
        snapshot.endpoints.filter(pl.col("kind") == "Pod")
        .with_columns(pl.col("kind").cast(pl.String), has_address=has_address)
        .sort("id", descending=True)
        .unique(["namespace", "name"], keep="first", maintain_order=True)
        .sort("has_address", "namespace", "name", descending=[True, False, False])
    )


def _find(pairs: pl.DataFrame, side: str, end: str, snapshot: Snapshot) -> pl.DataFrame:
    """Add `{end}_id`, `{end}_hi`, `{end}_lo` and `{side}_by`; the id is null where the end is not found."""
    pods = pods_now(snapshot)
    keys = {field: f"{side}_{field}" for field in ("kind", "namespace", "name", "workload_kind", "workload")}
    by_name = pods.select(pl.col("kind", "namespace", "name").name.map(keys.__getitem__), pl.col("id").alias("named"))
    workloads = pods.unique(["namespace", "workload_kind", "workload"], keep="first", maintain_order=True)
    by_workload = workloads.select(
        pl.col("kind", "namespace", "workload_kind", "workload").name.map(keys.__getitem__), pl.col("id").alias("alike")
    )
    nodes = (
        snapshot.endpoints.filter(pl.col("kind") == "Node")
        .with_columns(pl.col("kind").cast(pl.String))
        .unique("name", keep="last", maintain_order=True)
    )
    by_node = nodes.select(pl.col("kind", "name").name.map(keys.__getitem__), pl.col("id").alias("node_id"))
    kind = pl.col(f"{side}_kind")
    found = (
        pairs.join(by_name, on=by_name.columns[:-1], how="left", maintain_order="left")
        .join(by_workload, on=by_workload.columns[:-1], how="left", maintain_order="left")
        .join(by_node, on=by_node.columns[:-1], how="left", maintain_order="left")
        .with_columns(
            pl.when(kind == "Pod")
            .then(pl.coalesce("named", "alike"))
            .when(kind.is_in(["Node", "External"]))
            .then(pl.coalesce("node_id", pl.lit(OUTSIDE, pl.UInt32)))
            .alias(f"{end}_id"),
            pl.when(pl.coalesce("named", "node_id").is_not_null())
            .then(pl.lit("pod"))
            .when(pl.col("alike").is_not_null())
            .then(pl.lit("workload"))
            .otherwise(pl.lit("address"))
            .cast(BY)
            .alias(f"{side}_by"),
        )
        .drop("named", "alike", "node_id")
    )
    now = living(snapshot).select(pl.col("id").alias(f"{end}_id"), "is_v6", "addr_hi", "addr_lo")
    found = found.join(now, on=[f"{end}_id", "is_v6"], how="left", maintain_order="left")
    seen = halves_of(found[f"{side}_seen_ip"])
    is_pod = found[f"{side}_kind"] == "Pod"
    return found.with_columns(
        pl.when(is_pod).then(pl.coalesce(f"addr_{half}", seen[half])).otherwise(seen[half]).alias(f"{end}_{half}")
        for half in ("hi", "lo")
    ).drop("addr_hi", "addr_lo")


def _left_out(pairs: pl.DataFrame) -> pl.DataFrame:
    is_source = pl.col("src_id").is_null()
    told = pairs.select(
        pl.when(is_source).then(pl.lit("source")).otherwise(pl.lit("destination")).alias("side"),
        pl.when(is_source).then("source_kind").otherwise("destination_kind").alias("kind"),
        "connections",
    ).with_columns(reason=pl.col("kind").replace_strict(_LEFT_OUT, default="the end is of no known kind"))
    return (
        told.group_by("reason", "side")
        .agg(pairs=pl.len().cast(pl.Int64), connections=pl.col("connections").sum())
        .sort("connections", "reason", "side", descending=[True, False, False])
    )
