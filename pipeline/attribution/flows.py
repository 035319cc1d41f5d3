"""Attribution of flows: both ends, the Service, how sure that is, and the row's role in counting once.

Everything is judged as of `start`, when the connection began: that is when the address was dialled and the backend
chosen, whatever became of either since.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from ..inventory.dataplane import ServicesBy
from ..inventory.endpoints import UNKNOWN
from ..inventory.snapshot import Snapshot
from .confidence import attribution, reason
from .ends import SIDES, endpoint_id, is_before_status, join_ends
from .lookups import Lookups, lookups_of, packed
from .mesh import join_mesh, join_subsets
from .roles import role
from .routes import join_routes
from .services import is_redirected, join_services

_SCRATCH: Final = (
    "here",
    *(f"{side}_{what}" for side in SIDES for what in ("address", "held", "end")),
    "src_place",
    "backend_place",
    "listener_row",
    "listener_id",
    "is_narrowed",
)


def attribute(flows: pl.LazyFrame, snapshot: Snapshot, services_by: ServicesBy = "dialled") -> pl.LazyFrame:
    """Flows with the ids of what they mean under `snapshot`; all input columns and the order of rows are kept.

    `flows` have the columns of `collector.schema.FLOWS` that name addresses, ports and the protocol, `start`, and
    `node` (Categorical, who saw the row). `services_by` says what tells the Service: the address dialled alone, or the
    backend too, for dataplanes whose flows show no other (`inventory.dataplane`). Added are
    - `src_id`, `dst_id` (UInt32, rows of `snapshot.endpoints`): who opened the connection and who answered. Where a
      Service address was dialled and no backend is known, dst is the Service itself;
    - `service_id` (UInt32, row of `snapshot.services`, null where there is none, or not one alone), `via`, and
      `service_set` (UInt32, row of `lookups.service_sets`): the Service ports that it may be where it is ambiguous;
    - `route_id` and `route_set`, as `routes.join_routes` tells, by `server_name` and `path` too where the flows have
      them; `mesh` and `subset_id`, as `mesh` does;
    - `role`, as `roles` tells;
    - `attribution` and `reason`, as `confidence` tells.
    """
    lookups = lookups_of(snapshot)
    seen = join_services(join_ends(flows, lookups), lookups, by_backend=services_by == "backend")
    ended = _join_listener(seen, lookups).with_columns(
        src_id=endpoint_id(lookups, "src"), dst_id=_dst_id(lookups), role=role(lookups)
    )
    served = join_routes(join_mesh(ended, snapshot, lookups), snapshot)
    return (
        join_subsets(served, snapshot)
        .with_columns(reason=reason(_reasons(lookups)))
        .with_columns(attribution=attribution("reason"))
        .drop(_SCRATCH)
    )


def _join_listener(flows: pl.LazyFrame, lookups: Lookups) -> pl.LazyFrame:
    """Add `listener_row` and `listener_id`: the pod that answers on the port of its node, null where several may."""
    is_on_node = pl.lit(lookups.is_node).gather("backend_end")
    port = packed(pl.col("backend_address"), pl.col("backend_port"), pl.col("protocol"))
    joined = lookups.listeners.join(flows, pl.when(is_on_node).then(port), "listener_row")
    return joined.with_columns(listener_id=lookups.listeners.gather("answer", "listener_row"))


def _dst_id(lookups: Lookups) -> pl.Expr:
    """The Service's endpoint where it was dialled and nobody is known to have answered, a node's pod that answers on
    the port, or whoever holds the address."""
    service = pl.lit(lookups.service_endpoints).gather("service_id")
    is_nobody = _is_unanswered() & pl.col("backend_place").is_null()
    return pl.coalesce(pl.when(is_nobody).then(service), "listener_id", endpoint_id(lookups, "backend"))


def _reasons(lookups: Lookups) -> dict[str, pl.Expr]:
    is_pod_on_node = pl.col("listener_row").is_not_null()
    return {
        "unknown_source": (pl.col("src_id") == UNKNOWN) & pl.col("src_end").is_null(),
        "unknown_destination": (pl.col("dst_id") == UNKNOWN) & pl.col("backend_end").is_null(),
        "ambiguous_service": pl.col("service_set").is_not_null(),
        "ambiguous_route": pl.col("route_set").is_not_null(),
        "ambiguous_address": (pl.col("src_id") == UNKNOWN) | (pl.col("dst_id") == UNKNOWN),
        "ambiguous_host_port": is_pod_on_node & pl.col("listener_id").is_null(),
        "before_status": is_before_status(lookups, "src") | is_before_status(lookups, "backend"),
        "backend_only": pl.col("via") == "backend",
        "head": pl.col("is_narrowed"),
        "dns_alias": pl.lit(value=False),  # `aliases.join_aliases` tells
        "host_port": is_pod_on_node,
        "no_backend": pl.col("service_id").is_not_null() & _is_unanswered(),
    }


def _is_unanswered() -> pl.Expr:
    """Whether a Service's address was dialled and went nowhere else, as far as the row shows."""
    return ~is_redirected() & (pl.col("via") != "backend")
