"""Attribution of flows: both ends, the Service, how sure that is, and the row's role in counting once.

Everything is judged as of `start`, when the connection began: that is when the address was dialled and the backend
chosen, whatever became of either since.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..inventory.dataplane import ServicesBy
from ..inventory.endpoints import UNKNOWN
from ..inventory.services import VIAS
from ..inventory.snapshot import Snapshot
from . import arrays
from .arrays import Rows
from .blocks import Block, blocks_of
from .confidence import REASON, certainties, worsen
from .ends import Ends, endpoint_ids, ends_of, here_of
from .lookups import Ids, Lookups, lookups_of, packed_addresses, packed_ports
from .mesh import subsets_of, through_mesh
from .mesh_lookups import MESHES, mesh_lookups_of
from .narrowing import narrow
from .roles import ROLES, roles_of
from .route_lookups import route_lookups_of
from .routes import routes_of
from .services import BACKEND, HEADLESS, Dialled, dialled_of, tell_headless, unanswered

Codes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Found:
    """What flows mean, by row: ids, -1 where there is none, and codes."""

    service: Ids
    via: Codes
    several_services: Ids
    src: Ids
    dst: Ids
    role: Codes
    mesh: Codes
    route: Ids
    several_routes: Ids
    subset: Ids
    reason: Codes


def attribute(flows: pl.DataFrame, snapshot: Snapshot, services_by: ServicesBy = "dialled") -> pl.DataFrame:
    """Flows with the ids of what they mean under `snapshot`; all input columns and the order of rows are kept.

    `flows` have the columns of `collector.schema.FLOWS` that name addresses, ports and the protocol, `start`, and
    `node` (Categorical, who saw the row). `services_by` says what tells the Service: the address dialled alone, or the
    backend too, for dataplanes whose flows show no other (`inventory.dataplane`). Added are
    - `service_id` (UInt32, row of `snapshot.services`, null where there is none, or not one alone), `via`, and
      `service_set` (UInt32, row of `lookups.service_sets`): the Service ports that it may be where it is ambiguous;
    - `src_id`, `dst_id` (UInt32, rows of `snapshot.endpoints`): who opened the connection and who answered. Where a
      Service address was dialled and no backend is known, dst is the Service itself;
    - `role`, as `roles` tells;
    - `route_id` and `route_set`, as `routes` and `narrowing` tell, by `server_name` and `path` too where the flows have
      them; `mesh` and `subset_id`, as `mesh` does;
    - `reason` and `attribution`, as `confidence` tells.
    """
    lookups = lookups_of(snapshot)
    here = here_of(flows["node"], lookups)
    parts = [_found(block, snapshot, lookups, services_by) for block in blocks_of(flows, here)]
    found = Found(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Found)))
    is_one = narrow(flows, found.route, found.several_routes, snapshot)
    worsen(found.reason, is_one, "head")
    worsen(found.reason, np.flatnonzero(found.several_routes >= 0), "ambiguous_route")
    return flows.hstack(_columns(found))


def _found(block: Block, snapshot: Snapshot, lookups: Lookups, services_by: ServicesBy) -> Found:
    ends = ends_of(block, lookups)
    dialled = dialled_of(block, ends, lookups, by_backend=services_by == "backend")
    alone = unanswered(block, dialled)
    listening = _listening(block, ends, lookups)
    src, dst = endpoint_ids(ends.src, block.src, lookups), _dst_ids(block, ends, dialled, alone, listening, lookups)
    role = roles_of(block, ends, lookups)
    mesh_lookups = mesh_lookups_of(snapshot)
    mesh = through_mesh(block, ends, (src, dst), dialled, role, lookups, mesh_lookups)
    route, several_routes = routes_of(block, ends, src, dialled, route_lookups_of(snapshot))
    tell_headless(block, ends, (src, dst), dialled, lookups)
    subset = subsets_of(block, dst, dialled.service, mesh_lookups)
    reason = _reasons(block, ends, dialled, (src, dst), alone, listening, lookups)
    return Found(
        dialled.service, dialled.via, dialled.several, src, dst, role, mesh, route, several_routes, subset, reason
    )


def _columns(found: Found) -> list[pl.Series]:
    return [
        _ids("service_id", found.service),
        arrays.enumerated(found.via, VIAS).alias("via"),
        _ids("service_set", found.several_services),
        pl.Series("src_id", found.src.view(np.uint32)),
        pl.Series("dst_id", found.dst.view(np.uint32)),
        arrays.enumerated(found.role, ROLES).alias("role"),
        arrays.enumerated(found.mesh, MESHES).alias("mesh"),
        _ids("route_id", found.route),
        _ids("route_set", found.several_routes),
        _ids("subset_id", found.subset),
        arrays.enumerated(found.reason, REASON).alias("reason"),
        certainties(found.reason).alias("attribution"),
    ]


def _ids(name: str, ids: Ids) -> pl.Series:
    return arrays.nullable(ids.view(np.uint32), ids >= 0).alias(name)


@dataclass(frozen=True, slots=True)
class Listening:
    """Rows whose answering port of a node is a pod's."""

    rows: Rows
    pods: Ids
    """The pod; -1 where it may be several."""


def _listening(block: Block, ends: Ends, lookups: Lookups) -> Listening:
    listeners = lookups.listeners
    if not len(listeners.index):
        return Listening(np.zeros(0, np.int64), np.zeros(0, np.int32))
    rows = np.flatnonzero(lookups.is_node.take(ends.backend.holder))
    ports = packed_ports(block.backend_port.take(rows), block.protocol.take(rows))
    facts = listeners.rows(packed_addresses(ends.backend.address.take(rows), ports), block.start.take(rows))
    is_told = facts >= 0
    return Listening(rows[is_told], listeners.answer.take(facts[is_told]))


def _dst_ids(block: Block, ends: Ends, dialled: Dialled, alone: Rows, listening: Listening, lookups: Lookups) -> Ids:
    """The Service's endpoint where it was dialled and nobody is known to have answered (`alone`), a node's pod that
    answers on the port, or whoever holds the address."""
    ids = endpoint_ids(ends.backend, block.backend, lookups)
    is_pod = listening.pods >= 0
    ids[listening.rows[is_pod]] = listening.pods[is_pod]
    nobodys = alone[ends.backend_place.take(alone) < 0]
    ids[nobodys] = lookups.service_endpoint.take(dialled.service.take(nobodys))
    return ids


def _reasons(
    block: Block,
    ends: Ends,
    dialled: Dialled,
    ids: tuple[Ids, Ids],
    alone: Rows,
    listening: Listening,
    lookups: Lookups,
) -> Codes:
    """Codes of REASON; what routes and names tell is not in them yet."""
    reasons = np.zeros(len(block), np.uint8)
    for code, end, known in (
        ("unknown_source", ends.src, ids[0]),
        ("unknown_destination", ends.backend, ids[1]),
    ):
        rows = np.flatnonzero(known == UNKNOWN)
        worsen(reasons, rows, "ambiguous_address")
        worsen(reasons, rows[end.holder.take(rows) < 0], code)
        if lookups.seen is not None:
            worsen(reasons, np.flatnonzero(block.start < lookups.seen.take(end.held)), "before_status")
    worsen(reasons, np.flatnonzero(dialled.several >= 0), "ambiguous_service")
    worsen(reasons, np.flatnonzero(dialled.via == BACKEND), "backend_only")
    worsen(reasons, np.flatnonzero(dialled.via == HEADLESS), "headless")
    worsen(reasons, alone, "no_backend")
    worsen(reasons, listening.rows, "host_port")
    worsen(reasons, listening.rows[listening.pods < 0], "ambiguous_host_port")
    return reasons
