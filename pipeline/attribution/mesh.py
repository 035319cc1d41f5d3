"""What a service mesh adds: how the pair is connected, and the subset that answered; its inner hops count nothing.

From the node one connection of a sidecar mesh is seen between the two pods, for the redirects to 15001 and 15006 are
inside their namespaces, and ambient's tunnel goes to 15008 of the pod itself. So the pair is the application's already;
a source that looks into a pod sees the hops as well. A meshed client's proxy dials pods and no Service address, so the
Service is told by the backend. The invariant: a row that is a hop is an observer's.

Source: Istio's documents of its ports, of traffic redirection and of ambient's ztunnel.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from ..inventory.services import VIAS
from ..inventory.snapshot import Snapshot
from .lookups import Lookups, packed
from .mesh_lookups import MESHES, mesh_lookups_of, served
from .roles import ROLES
from .services import is_redirected

TCP: Final = 6
SIDECAR_PORTS: Final = (15001, 15006)
"""Where a sidecar takes what leaves its pod, and what comes in."""
HBONE_PORT: Final = 15008
"""Where ambient's node proxy takes tunnels, in the pod's own namespace."""

_SCRATCH: Final = ("src_mesh", "dst_mesh", "backend_row")


def join_mesh(flows: pl.LazyFrame, snapshot: Snapshot, lookups: Lookups) -> pl.LazyFrame:
    """Add `mesh` (MESHES): `sidecar` and `ambient` say how the two pods are connected, `none` that one took no part.

    Where a pod with a sidecar dialled a pod, `service_id`, `service_set` and `via` become those of the backend. Inner
    hops get the role `observer`. Needs the ends, the Service and the role, as `flows.attribute` has them.
    """
    members = mesh_lookups_of(snapshot)
    if not members.has_members:
        return flows.with_columns(mesh=pl.lit("none", dtype=MESHES))
    known = _with_members(flows, members.members)
    return _with_hops(_join_backends(known, lookups)).drop(_SCRATCH)


def join_subsets(flows: pl.LazyFrame, snapshot: Snapshot) -> pl.LazyFrame:
    """Add `subset_id` (UInt32, row of the tracked frame `mesh_subsets`): the subset of the Service that the pod which
    answered is of; null where it is of none, or of several."""
    mesh = mesh_lookups_of(snapshot)
    if mesh.subset_rows.is_empty():
        return flows.with_columns(subset_id=pl.lit(None, pl.UInt32))
    found = mesh.subsets.join(flows, served(pl.col("service_id"), pl.col("dst_id")), "subset_row")
    return found.with_columns(subset_id=mesh.subsets.gather("answer", "subset_row")).drop("subset_row")


def _with_members(flows: pl.LazyFrame, members: pl.Series) -> pl.LazyFrame:
    src, dst = pl.col("src_mesh"), pl.col("dst_mesh")
    is_tunnel = (pl.col("protocol") == TCP) & (pl.col("dst_port") == HBONE_PORT) & (dst == "ambient")
    return flows.with_columns(
        src_mesh=pl.lit(members).gather("src_id"), dst_mesh=pl.lit(members).gather("dst_id")
    ).with_columns(
        mesh=pl.when(is_tunnel)
        .then(pl.lit("ambient", dtype=MESHES))
        .when((src == "sidecar") & (dst == "sidecar"))
        .then(pl.lit("sidecar", dtype=MESHES))
        .otherwise(pl.lit("none", dtype=MESHES))
    )


def _join_backends(flows: pl.LazyFrame, lookups: Lookups) -> pl.LazyFrame:
    """The Services of the backends that meshed pods dialled themselves."""
    is_dialled = pl.col("service_id").is_not_null() | pl.col("service_set").is_not_null() | is_redirected()
    key = packed(pl.col("backend_address"), pl.col("backend_port"), pl.col("protocol"))
    flows = lookups.backends.join(
        flows, pl.when((pl.col("src_mesh") == "sidecar") & ~is_dialled).then(key), "backend_row"
    )
    offset = len(lookups.dials.sets) + len(lookups.node_ports.sets)
    told = lookups.backends.gather("answer", "backend_row")
    return flows.with_columns(
        service_id=pl.coalesce("service_id", told),
        service_set=pl.coalesce("service_set", lookups.backends.gather("answers", "backend_row") + offset),
        via=pl.when(told.is_not_null()).then(pl.lit("backend", dtype=VIAS)).otherwise("via"),
    )


def _with_hops(flows: pl.LazyFrame) -> pl.LazyFrame:
    """What a meshed pod's proxy takes in its place, or what the pod says to its own proxy, is inside the pod."""
    is_meshed = (pl.col("src_mesh") != "none") | (pl.col("dst_mesh") != "none")
    is_taken = is_redirected() | (pl.col("backend_port") != pl.col("dst_port"))
    is_proxys = (pl.col("protocol") == TCP) & pl.col("backend_port").is_in(SIDECAR_PORTS)
    is_hop = is_meshed & is_proxys & (is_taken | (pl.col("src_id") == pl.col("dst_id")))
    return flows.with_columns(role=pl.when(is_hop).then(pl.lit("observer", dtype=ROLES)).otherwise("role"))
