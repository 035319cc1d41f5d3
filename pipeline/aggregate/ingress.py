"""What Ingresses and Gateways carry to applications, and what comes to their Services from outside around them.

The proxy's leg to the backend is counted here under its route, so bytes from outside are the application's. The
invariant: every canonical backend leg is in each metric once, under what its candidates agree on where it has several.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

from ..attribution import with_labels
from ..attribution.route_lookups import route_lookups_of
from ..catalog import ROUTE, SERVICE
from ..inventory.snapshot import Snapshot
from ..kept import Kept
from . import rollups
from .samples import Samples
from .totals import Totals
from .views import BothWays, Nonzero, Plain, View

LEG_MEASURES: Final = ("bytes", "reply_bytes", "opened", *rollups.FAILURES)
EXPOSED: Final = ("node_port", "load_balancer_ip", "external_ip")
"""How a Service is dialled from outside without an Ingress."""

_LEG_IDS: Final = ("route_id", "route_set", "service_id")
_BYPASS_IDS: Final = ("service_id", "via")
_IS_CANONICAL: Final = pl.col("role") == "canonical"


class IngressMetrics:
    """Metrics by route, and the finding that a Service behind a route is dialled around it."""

    def __init__(self) -> None:
        self._legs = Totals(_LEG_IDS, (*ROUTE, *SERVICE), LEG_MEASURES)
        self._bypasses = Totals(_BYPASS_IDS, (*SERVICE, "via"), ("opened",))
        self._views: tuple[View, ...] = (
            BothWays("flowatlas_ingress_bytes_total", self._legs, "bytes", "reply_bytes"),
            Plain("flowatlas_ingress_connections_total", self._legs, "opened"),
            Nonzero("flowatlas_ingress_connection_failures_total", self._legs, rollups.FAILURES),
            Plain("flowatlas_ingress_bypass_connections_total", self._bypasses, "opened"),
        )
        self._snapshot: Snapshot | None = None

    def use(self, snapshot: Snapshot) -> None:
        """Take ids to be those of `snapshot` from now on."""
        if snapshot is not self._snapshot:  # route sets are numbered anew in each
            self._legs.forget_ids()
            self._bypasses.forget_ids()
        self._snapshot = snapshot

    def add(self, flows: pl.DataFrame) -> None:
        """Add flows attributed under the snapshot in use."""
        snapshot = self._require_snapshot()
        if route_lookups_of(snapshot).frame.is_empty():
            return
        found = pl.collect_all([legs(flows.lazy()), bypasses(flows.lazy(), snapshot)])
        self._legs.add(found[0], self._named)
        self._bypasses.add(found[1], self._named)

    def kept(self) -> Mapping[str, Kept]:
        """The totals."""
        return {"legs": self._legs, "bypasses": self._bypasses}

    def samples(self) -> list[Samples]:
        """Every metric of routes with its values as they are now."""
        return [view.samples() for view in self._views]

    def _named(self, ids: pl.DataFrame) -> pl.DataFrame:
        named = with_labels(ids.lazy(), self._require_snapshot()).collect()
        return named.with_columns(pl.col("via").cast(pl.String)) if "via" in named.columns else named

    def _require_snapshot(self) -> Snapshot:
        if self._snapshot is None:
            raise RuntimeError("use(snapshot) comes before add(flows)")
        return self._snapshot


def legs(flows: pl.LazyFrame) -> pl.LazyFrame:
    """LEG_MEASURES of backend legs, by route_id, route_set and service_id."""
    is_leg = pl.col("route_id").is_not_null() | pl.col("route_set").is_not_null()
    return (
        flows.filter(_IS_CANONICAL & is_leg)
        .group_by(_LEG_IDS)
        .agg(*(rollups.measured(measure) for measure in LEG_MEASURES))
    )


def bypasses(flows: pl.LazyFrame, snapshot: Snapshot) -> pl.LazyFrame:
    """Connections opened from beyond the cluster to a Service behind a route at an address of its own, by service_id
    and via."""
    is_outside = pl.lit(snapshot.endpoints["kind"] == "External").gather(pl.col("src_id"))
    is_routed = pl.lit(route_lookups_of(snapshot).routed).gather(pl.col("service_id"))
    return (
        flows.filter(_IS_CANONICAL & pl.col("via").is_in(EXPOSED))
        .filter(is_outside & is_routed)
        .group_by(_BYPASS_IDS)
        .agg(rollups.measured("opened"))
    )
