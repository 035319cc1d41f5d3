"""What Ingresses and Gateways carry to applications, and what comes to their Services from outside around them.

The proxy's leg to the backend is counted here under its route, so bytes from outside are the application's. The
invariant: every canonical backend leg is in each metric once, under what its candidates agree on where it has several.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl

from ..attribution import arrays, with_labels
from ..attribution.lookups import lookups_of
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
_COUNTED: Final = ("bytes", "reply_bytes", "opened")


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
        is_canonical = arrays.is_code(flows["role"], "canonical")
        legs = arrays.taken(flows, np.flatnonzero(is_canonical & _is_leg(flows)), *_LEG_IDS, *_COUNTED, "outcome")
        self._legs.count(legs, rollups.of_rows(legs, *LEG_MEASURES), self._named)
        around = arrays.taken(flows, np.flatnonzero(is_canonical & _is_bypass(flows, snapshot)), *_BYPASS_IDS, "opened")
        self._bypasses.count(around, rollups.of_rows(around, "opened"), self._named)

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


def _is_leg(flows: pl.DataFrame) -> arrays.Mask:
    """Which flows are legs to a backend under a route."""
    return arrays.is_there(flows["route_id"]) | arrays.is_there(flows["route_set"])


def _is_bypass(flows: pl.DataFrame, snapshot: Snapshot) -> arrays.Mask:
    """Which flows are from beyond the cluster to a Service behind a route at an address of its own."""
    via = flows["via"]
    is_exposed: arrays.Mask = np.logical_or.reduce([arrays.is_code(via, name) for name in EXPOSED])
    if is_exposed.any():
        rows = np.flatnonzero(is_exposed)
        is_outside = lookups_of(snapshot).is_external.to_numpy()
        routed = route_lookups_of(snapshot).routed.fill_null(value=False).to_numpy()
        services = arrays.ids(flows["service_id"]).take(rows)
        is_of_service = services != arrays.NO_ID
        is_exposed[rows] = is_of_service & is_outside.take(flows["src_id"].to_numpy().take(rows))
        rows, services = rows[is_of_service], services[is_of_service]
        is_exposed[rows] &= routed.take(services)
    return is_exposed
