"""Which Ingress or Gateway route a flow is the backend leg of: from the proxy that serves it to the Service behind it.

The client's own leg ends at the proxy and is the proxy's; the leg from there is the application's, and charged to it.
Where a proxy dials pods itself, its routes tell the Service too. Several routes of a proxy that lead to one Service are
candidates, narrowed by `server_name` and `path` where the flows have those columns (text; null or "" where unknown).
The invariant: a row has a `route_id` or a `route_set`, or neither, and never both.
"""

from __future__ import annotations

import numpy as np

from .blocks import Block
from .ends import Ends
from .lookups import Ids, packed_addresses, packed_ports
from .route_lookups import RouteLookups, proxied
from .services import Dialled


def routes_of(block: Block, ends: Ends, src_ids: Ids, dialled: Dialled, routes: RouteLookups) -> tuple[Ids, Ids]:
    """Rows of the tracked frame `routes`, and of the sets of routes, that the flows may be of; -1 where there is none.

    Where a proxy dialled a backend of its routes and no Service address, `dialled` is told their Service, where they
    have one alone.
    """
    route, several = (np.full(len(block), -1, np.int32) for _ in range(2))
    if routes.is_idle:
        return route, several
    rows = np.flatnonzero(routes.proxy.take(src_ids) >= 0)
    proxy, service, starts = routes.proxy.take(src_ids.take(rows)), dialled.service.take(rows), block.start.take(rows)
    ports = packed_ports(block.backend_port.take(rows), block.protocol.take(rows))
    target = routes.target_index.find([packed_addresses(ends.backend.address.take(rows), ports)])
    is_direct = (service < 0) & (target >= 0)
    target += np.int32(routes.first_target)

    facts = routes.routes.rows(proxied(proxy, np.where(is_direct, target, service)), starts)
    route[rows], several[rows] = routes.routes.answer.take(facts), routes.routes.several.take(facts)

    direct = np.flatnonzero(is_direct)
    told = routes.dialled_services
    facts = told.rows(proxied(proxy.take(direct), target.take(direct)), starts.take(direct))
    services = told.answer.take(facts)
    is_told = services >= 0
    dialled.tell_one(rows.take(direct[is_told]), services[is_told])
    return route, several
