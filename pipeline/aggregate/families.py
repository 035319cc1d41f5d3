"""The seam of aggregation: what a family of metrics takes and gives, so that the engine feeds all of them alike.

The invariant: a family is told of the snapshot before it sees flows attributed under it, and sees every flow once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import polars as pl

from ..geo import Geo
from ..inventory.snapshot import Snapshot
from ..kept import Kept
from ..prices import Prices
from .external import ExternalMetrics
from .ingress import IngressMetrics
from .mesh import MeshMetrics
from .namespaces import NamespaceMetrics
from .samples import Samples
from .scans import Scans
from .signals import ServiceSignals
from .tcp_health import TcpHealthMetrics
from .zones import ZoneMetrics


class Family(Protocol):
    """Metrics that are computed from attributed flows."""

    def use(self, snapshot: Snapshot) -> None:
        """Take ids to be those of `snapshot` from now on."""

    def add(self, flows: pl.DataFrame) -> None:
        """Add flows attributed under the snapshot in use."""

    def samples(self) -> list[Samples]:
        """Every metric of the family with its values as they are now."""

    def kept(self) -> Mapping[str, Kept]:
        """What of the family outlives the process, as `kept.Keeper` says."""


def families(prices: Prices | None = None, geo: Geo | None = None) -> tuple[Family, ...]:
    """Every family beside the flow metrics themselves; without `prices` nothing has a cost, and without `geo`, which
    numbers the flows before they come here, nothing is told of countries."""
    external = () if geo is None else (ExternalMetrics(geo),)
    services = (IngressMetrics(), MeshMetrics(), ServiceSignals())
    return (NamespaceMetrics(), *services, Scans(), TcpHealthMetrics(), ZoneMetrics(prices), *external)
