"""What flows show of Services in this cluster: the address dialled, or the backend alone.

kube-proxy and whatever works as it does translate packets on the way, so that conntrack has both addresses. A dataplane
that translates at the socket (Cilium in kube-proxy's place) leaves the backend's alone. The invariant: what is not
clearly the latter is taken for the former, for a flow straight to a pod is no Service's.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal

import polars as pl

from .snapshot import Snapshot

ServicesBy = Literal["dialled", "backend"]

SOCKET_BALANCERS: Final = ("cilium", "anetd")
"""DaemonSets of agents that can translate at the socket: Cilium's, and GKE's build of it."""
KUBE_PROXY: Final = "kube-proxy"
"""How the name of its pods begins, whether they are a DaemonSet's or static ones."""


@lru_cache(maxsize=2)
def services_by(snapshot: Snapshot) -> ServicesBy:
    """`backend` where an agent that can translate at the socket runs and no kube-proxy does; else `dialled`."""
    is_pod = pl.col("kind") == "Pod"
    is_agent = is_pod & (pl.col("workload_kind") == "DaemonSet") & pl.col("workload").is_in(SOCKET_BALANCERS)
    is_proxy = is_pod & pl.col("name").str.starts_with(KUBE_PROXY)
    has_agent, has_proxy = (bool(snapshot.endpoints.select(is_it.any()).item()) for is_it in (is_agent, is_proxy))
    return "backend" if has_agent and not has_proxy else "dialled"
