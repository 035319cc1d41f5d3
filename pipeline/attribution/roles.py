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
TUNNEL_PORTS: Final = (8472, 4789, 6784, 6081, 8285, 51820, 51821, 51871, 4500)
"""UDP ports of tunnels between nodes: VXLAN as Flannel and Cilium and as IANA have it, Weave's fast path, Geneve,
Flannel's own, WireGuard as Flannel and Calico, as Calico for IPv6 and as Cilium use it, IPsec through NAT."""
TUNNEL_PROTOCOLS: Final = (4, 41, 47, 50)
"""IANA numbers of what tunnels between nodes without ports: IPv4 and IPv6 in IP, GRE, IPsec's ESP."""


def role(lookups: Lookups) -> pl.Expr:
    """`canonical`, `observer` or `overlay`, of flows as `ends.join_ends` has them."""

    def is_node(side: str) -> pl.Expr:
        return pl.lit(lookups.is_node).gather(f"{side}_end").fill_null(value=False)

    protocol, here = pl.col("protocol"), pl.col("here")
    is_tunnel = protocol.is_in(TUNNEL_PROTOCOLS) | ((protocol == UDP) & pl.col("dst_port").is_in(TUNNEL_PORTS))
    is_overlay = is_tunnel & is_node("src") & is_node("dst")

    src_place, backend_place = pl.col("src_place"), pl.col("backend_place")
    # Read only where src is on no node, so nat_src is another address.
    nat_place = pl.lit(lookups.places).gather("nat_src_end")
    is_entry = is_node("nat_src") & (nat_place == here).fill_null(value=False)
    counts_from_outside = is_entry | (backend_place == here).fill_null(value=False) | backend_place.is_null()
    counts = pl.when(src_place.is_null()).then(counts_from_outside).otherwise(src_place == here)
    return (
        pl.when(is_overlay)
        .then(pl.lit("overlay", dtype=ROLES))
        .when(counts)
        .then(pl.lit("canonical", dtype=ROLES))
        .otherwise(pl.lit("observer", dtype=ROLES))
    )
