"""A snapshot, made ready for joins: every question that a row asks is one join or one gather.

Dialled Services are found in two steps, so that joins stay narrow: the address gives a `dial` number, and dial, port
and protocol packed into one integer give the Service port. All node addresses share the dial `ANY_NODE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import polars as pl

from ..inventory.services import VIAS
from ..inventory.snapshot import Snapshot

ANY_NODE: Final = 0
"""The dial number of every node address that no Service claims for itself."""


@dataclass(frozen=True)
class Lookups:
    """Frames to join on and columns to gather from, of one snapshot."""

    ends: pl.DataFrame
    """addr_hi, addr_lo, end (endpoint id), dial (null where the address is neither a Service's nor a node's)."""
    dials: pl.DataFrame
    """dial_key, service_id, via."""
    nodes: pl.DataFrame
    """node (Categorical), here (endpoint id of that Node)."""
    places: pl.Series
    """By endpoint id: the endpoint id of the Node that it is on; a Node is on itself; null for all that is on none."""
    service_endpoints: pl.Series
    """By service id: the Service's endpoint id."""
    ranges: tuple[tuple[int, int, int, int], ...]
    """hi_from, lo_from, hi_to, lo_to of each range of the cluster."""


def dial_key(dial: pl.Expr, port: pl.Expr, protocol: pl.Expr) -> pl.Expr:
    """Dial number, port and protocol in one UInt64."""
    return dial.cast(pl.UInt64) * (1 << 24) + port.cast(pl.UInt64) * (1 << 8) + protocol.cast(pl.UInt64)


@lru_cache(maxsize=2)
def lookups_of(snapshot: Snapshot) -> Lookups:
    """The look-ups of a snapshot; those of the newest two are kept."""
    endpoints = snapshot.endpoints
    is_node = pl.col("kind") == "Node"
    nodes = endpoints.filter(is_node).select("node", here="id")
    places = endpoints.join(nodes, on="node", how="left", maintain_order="left")["here"].rename("place")
    addresses = snapshot.addresses.select(
        "addr_hi",
        "addr_lo",
        end="endpoint_id",
        is_node=pl.lit(endpoints["kind"] == "Node").gather("endpoint_id"),
    )
    vips = snapshot.dialled.select("addr_hi", "addr_lo").unique(maintain_order=True).with_row_index("vip", ANY_NODE + 1)
    ends = addresses.join(vips, on=["addr_hi", "addr_lo"], how="left").with_columns(
        dial=pl.coalesce("vip", pl.when("is_node").then(pl.lit(ANY_NODE, dtype=pl.UInt32)))
    )
    return Lookups(
        ends=ends.select("addr_hi", "addr_lo", "end", "dial"),
        dials=_dials(snapshot, vips, ends.filter("is_node")["dial"].unique()),
        nodes=nodes.with_columns(pl.col("node").cast(pl.Categorical)),
        places=places,
        service_endpoints=snapshot.services["endpoint_id"],
        ranges=tuple(snapshot.ranges.iter_rows()),
    )


def _dials(snapshot: Snapshot, vips: pl.DataFrame, node_dials: pl.Series) -> pl.DataFrame:
    """What each dial key means. An address that is a node's and a Service's knows the node ports too."""
    own = snapshot.dialled.join(vips, on=["addr_hi", "addr_lo"]).select("vip", "port", "protocol", "service_id", "via")
    every_node = pl.DataFrame({"vip": pl.concat([node_dials, pl.Series([ANY_NODE], dtype=pl.UInt32)]).unique()})
    node_ports = every_node.join(snapshot.node_ports, how="cross").select(
        "vip", "port", "protocol", "service_id", via=pl.lit("node_port", dtype=VIAS)
    )
    key = dial_key(pl.col("vip"), pl.col("port"), pl.col("protocol"))
    return (
        pl.concat([own, node_ports])
        .select("service_id", "via", dial_key=key)
        .unique("dial_key", keep="first", maintain_order=True)
    )
