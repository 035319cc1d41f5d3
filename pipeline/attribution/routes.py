"""Which Ingress or Gateway route a flow is the backend leg of: from the proxy that serves it to the Service behind it.

The client's own leg ends at the proxy and is the proxy's; the leg from there is the application's, and charged to it.
Where a proxy dials pods itself, its routes tell the Service too. Several routes of a proxy that lead to one Service are
candidates, narrowed by `server_name` and `path` where the flows have those columns (text; null or "" where unknown).
The invariant: a row has a `route_id` or a `route_set`, or neither, and never both.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from ..inventory.services import VIAS
from ..inventory.snapshot import Snapshot
from .lookups import packed
from .narrowing import narrow
from .route_lookups import proxied, route_lookups_of

_SCRATCH: Final = ("proxy", "target", "route_row", "dialled_row")


def join_routes(flows: pl.LazyFrame, snapshot: Snapshot) -> pl.LazyFrame:
    """Add `route_id` (UInt32, row of the tracked frame `routes`), `route_set` (UInt32) and `is_narrowed`, as
    `narrowing` tells them.

    Where a proxy dialled a backend of its routes and no Service address, `service_id` becomes their Service, where they
    have one alone, and `via` becomes `backend`. Needs `src_id`, `service_id`, `service_set`, `via` and
    `backend_address`, all as `flows.attribute` has them.
    """
    lookups = route_lookups_of(snapshot)
    if lookups.is_idle:
        return flows.with_columns(
            route_id=pl.lit(None, pl.UInt32), route_set=pl.lit(None, pl.UInt32), is_narrowed=pl.lit(value=False)
        )
    proxy = pl.lit(lookups.proxies).gather("src_id")
    is_direct = pl.col("proxy").is_not_null() & pl.col("service_id").is_null()
    backend = packed(pl.col("backend_address"), pl.col("backend_port"), pl.col("protocol"))
    row = lookups.target_index.number(pl.when(is_direct).then(backend))
    target = pl.lit(lookups.targets["target"]).gather(row)
    joined = flows.with_columns(proxy=proxy).with_columns(target=target)
    leg = proxied(pl.col("proxy"), pl.coalesce("service_id", "target"))
    joined = lookups.routes.join(joined, leg, "route_row")
    joined = lookups.dialled_services.join(joined, proxied(pl.col("proxy"), pl.col("target")), "dialled_row")
    told = lookups.dialled_services.gather("answer", "dialled_row")
    found = joined.with_columns(
        route_id=lookups.routes.gather("answer", "route_row"),
        route_set=lookups.routes.gather("answers", "route_row"),
        service_id=pl.coalesce("service_id", told),
        service_set=pl.when(told.is_null()).then("service_set"),
        via=pl.when(told.is_not_null()).then(pl.lit("backend", dtype=VIAS)).otherwise("via"),
    )
    return narrow(found.drop(_SCRATCH), snapshot)
