"""Which row of a connection counts, decided from the row and the cluster's state alone.

A connection is seen on every node that it passes. The source's node counts it where the source is in the cluster; else
the node that masqueraded it, where one did, or the node of whoever answered. Every other row is an observer's. An end
on a node that has no collector is taken to be beyond the cluster, for that node tells nothing.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .arrays import Rows
from .blocks import Block
from .ends import Ends
from .lookups import Lookups

ROLES: Final[pl.Enum] = pl.Enum(["canonical", "observer", "overlay"])
CANONICAL, OBSERVER, OVERLAY = range(3)

UDP: Final = 17
TUNNEL_PORTS: Final = (8472, 4789, 6783, 6784, 6081, 8285, 51820, 51821, 51871, 4500)
"""UDP ports of tunnels between nodes: VXLAN as Flannel and Cilium and as IANA have it, Weave's sleeve and fast path,
Geneve, Flannel's own, WireGuard as Flannel and Calico, as Calico for IPv6 and as Cilium use it, IPsec through NAT."""
TUNNEL_PROTOCOLS: Final = (4, 41, 47, 50)
"""IANA numbers of what tunnels between nodes without ports: IPv4 and IPv6 in IP, GRE, IPsec's ESP."""

_MAY_TUNNEL: Final = np.isin(np.arange(256), (*TUNNEL_PROTOCOLS, UDP))
_IS_TUNNEL_PORT: Final = np.isin(np.arange(1 << 16), TUNNEL_PORTS)


def roles_of(block: Block, ends: Ends, lookups: Lookups) -> NDArray[np.uint8]:
    """Codes of ROLES."""
    counts = ends.src_place == block.here
    rows = ends.unplaced
    if rows.size:
        here, backend_place = block.here.take(rows), lookups.collected.take(ends.backend.holder.take(rows))
        is_known = here >= 0
        masquerader = ends.nat_src.holder
        is_entry = lookups.is_node.take(masquerader) & (lookups.collected.take(masquerader) == here) & is_known
        counts[rows] = is_entry | ((backend_place == here) & is_known) | (backend_place < 0)
    roles = np.where(counts, np.uint8(CANONICAL), np.uint8(OBSERVER))
    roles[_overlays(block, ends, lookups)] = OVERLAY
    return roles


def _overlays(block: Block, ends: Ends, lookups: Lookups) -> Rows:
    rows: Rows = np.flatnonzero(_MAY_TUNNEL.take(block.protocol))
    rows = rows[(block.protocol.take(rows) != UDP) | _IS_TUNNEL_PORT.take(block.dst_port.take(rows))]
    for end in (ends.src, ends.dst):
        rows = rows[lookups.is_node.take(end.holder.take(rows))]
    return rows
