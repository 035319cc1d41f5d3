"""What a service mesh adds: how the pair is connected, and the subset that answered; its inner hops count nothing.

From the node one connection of a sidecar mesh is seen between the two pods, for the redirects to 15001 and 15006 are
inside their namespaces, and ambient's tunnel goes to 15008 of the pod itself. So the pair is the application's already;
a source that looks into a pod sees the hops as well. A meshed client's proxy dials pods and no Service address, so the
Service is told by the backend. The invariant: a row that is a hop is an observer's.

Source: Istio's documents of its ports, of traffic redirection and of ambient's ztunnel.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from .blocks import Block
from .ends import Ends
from .lookups import Ids, Lookups, packed_addresses, packed_ports
from .mesh_lookups import AMBIENT, NONE, SIDECAR, MeshLookups, served
from .roles import OBSERVER
from .services import Dialled

TCP: Final = 6
SIDECAR_PORTS: Final = (15001, 15006)
"""Where a sidecar takes what leaves its pod, and what comes in."""
HBONE_PORT: Final = 15008
"""Where ambient's node proxy takes tunnels, in the pod's own namespace."""


def through_mesh(
    block: Block,
    ends: Ends,
    ids: tuple[Ids, Ids],
    dialled: Dialled,
    roles: NDArray[np.uint8],
    lookups: Lookups,
    mesh: MeshLookups,
) -> NDArray[np.uint8]:
    """Codes of MESHES: `sidecar` and `ambient` say how the two pods are connected, `none` that one took no part.

    `ids` are the endpoints that opened and answered. Where a pod with a sidecar dialled a pod, `dialled` is told the
    Service of the backend. Inner hops get the role `observer` in `roles`.
    """
    found = np.full(len(block), NONE, np.uint8)
    if not mesh.has_members:
        return found
    src, dst = (mesh.member.take(end) for end in ids)
    rows = np.flatnonzero((src != NONE) | (dst != NONE))
    src, dst, protocol = src.take(rows), dst.take(rows), block.protocol.take(rows)
    is_tunnel = (protocol == TCP) & (block.dst_port.take(rows) == HBONE_PORT) & (dst == AMBIENT)
    found[rows[(src == SIDECAR) & (dst == SIDECAR)]] = SIDECAR
    found[rows[is_tunnel]] = AMBIENT

    callers = rows[src == SIDECAR]
    is_dialled = (dialled.service.take(callers) >= 0) | (dialled.several.take(callers) >= 0)
    asked = callers[~(is_dialled | block.is_redirected.take(callers))]
    ports = packed_ports(block.backend_port.take(asked), block.protocol.take(asked))
    keys = packed_addresses(ends.backend.address.take(asked), ports)
    dialled.tell_backends(asked, keys, block.start.take(asked), lookups)

    answering = block.backend_port.take(rows)
    proxys = rows[(protocol == TCP) & np.logical_or.reduce([answering == port for port in SIDECAR_PORTS])]
    is_taken = block.is_redirected.take(proxys) | (block.backend_port.take(proxys) != block.dst_port.take(proxys))
    is_own = ids[0].take(proxys) == ids[1].take(proxys)
    # What a meshed pod's proxy takes in its place, or what the pod says to its own proxy, is inside the pod.
    roles[proxys[is_taken | is_own]] = OBSERVER
    return found


def subsets_of(block: Block, dst_ids: Ids, services: Ids, mesh: MeshLookups) -> Ids:
    """Rows of the tracked frame `mesh_subsets`: the subset of the Service that the pod which answered is of; -1 where
    it is of none, or of several."""
    found = np.full(len(block), -1, np.int32)
    if mesh.subset_rows.is_empty():
        return found
    rows = np.flatnonzero(mesh.has_subsets.take(services))
    facts = mesh.subsets.rows(served(services.take(rows), dst_ids.take(rows)), block.start.take(rows))
    found[rows] = mesh.subsets.answer.take(facts)
    return found
