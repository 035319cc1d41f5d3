"""Which row of a connection counts, decided from the row and the cluster's state alone.

A connection is seen on every node that it passes. The source's node counts it where the source is in the cluster; else
the node that masqueraded it, where one did, or the node of whoever answered. Every other row is an observer's.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from .lookups import Lookups

ROLES: Final[pl.Enum] = pl.Enum(["canonical", "observer", "overlay"])

UDP: Final = 17
TUNNEL_PORTS: Final = (8472, 4789, 6784, 6081)
"""UDP ports of tunnels between nodes: VXLAN as Flannel and Cilium and as IANA have it, Weave's fast path, Geneve."""


def role(lookups: Lookups) -> pl.Expr:
    """`canonical`, `observer` or `overlay`; reads `here`, the ends and ids that `flows.attribute` has added."""

    def place(endpoint: str) -> pl.Expr:
        return pl.lit(lookups.places).gather(pl.col(endpoint))

    def is_node(end: str) -> pl.Expr:
        return place(end) == pl.col(end)

    is_tunnel = (pl.col("protocol") == UDP) & pl.col("dst_port").is_in(TUNNEL_PORTS)
    is_overlay = is_tunnel & is_node("src_end") & is_node("dst_end")

    here = pl.col("here")
    src_place, backend_place = place("src_end"), place("backend_end")
    is_entry = pl.col("nat_src_end") == here  # read only where src is on no node, so nat_src is another address
    counts_from_outside = (
        is_entry.fill_null(value=False) | (backend_place == here).fill_null(value=False) | backend_place.is_null()
    )
    counts = pl.when(src_place.is_null()).then(counts_from_outside).otherwise(src_place == here)
    return (
        pl.when(is_overlay)
        .then(pl.lit("overlay", dtype=ROLES))
        .when(counts)
        .then(pl.lit("canonical", dtype=ROLES))
        .otherwise(pl.lit("observer", dtype=ROLES))
    )
