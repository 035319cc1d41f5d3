"""The flow metrics of the catalogue: sums of flows, added to totals when they are asked for, seen through views.

The invariant: every canonical flow is in each metric family once, whatever happened to the snapshot in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

import numpy as np
import polars as pl

from ..attribution import arrays, with_labels
from ..catalog import PAIR, SERVICE
from ..inventory.snapshot import Snapshot
from ..kept import Kept, nested
from . import rollups
from .families import Family
from .samples import Samples
from .tallies import MOST, Tallies
from .totals import Totals
from .views import BothWays, Nonzero, Plain, Share, View

PROTOCOLS: Final = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP"}
"""Names of IANA protocol numbers as the `protocol` label has them; any other is its number."""

_PROTOCOL_TEXT: Final = pl.Series([PROTOCOLS.get(number, str(number)) for number in range(256)], dtype=pl.String)


@runtime_checkable
class OfSums(Protocol):
    """What a family has besides where sums of canonical flows do for it: it is told these first."""

    def add_sums(self, sums: pl.DataFrame) -> None:
        """Add `rollups.summed` of the flows that come next."""


@runtime_checkable
class OfWorkloads(Protocol):
    """What a family has besides where sums between workloads do for it: it is told these before it is asked."""

    def add_workloads(self, sums: pl.DataFrame) -> None:
        """Add `Tallies.taken` of flows attributed under the snapshot in use."""


class FlowMetrics:
    """Totals of all flow metrics. `use` a snapshot first, then `add` flows attributed under it.

    `families` are further metrics of the same flows: they are told all that this is told, and asked with it.
    """

    def __init__(self, families: Sequence[Family] = (), most: int = MOST) -> None:
        self._families = tuple(families)
        self._of_sums = [family for family in self._families if isinstance(family, OfSums)]
        self._of_workloads = [family for family in self._families if isinstance(family, OfWorkloads)]
        self._tallies = Tallies()
        self._most = most
        """Combinations of workloads that are remembered."""
        service = (*SERVICE, "service_type", "protocol")
        self._conversations = Totals(
            ("src_id", "dst_id", "service_id", "protocol"), (*PAIR, *SERVICE, "protocol"), rollups.CONVERSATION_MEASURES
        )
        self._services = Totals(("service_id", "protocol"), service, ("bytes", "reply_bytes", *rollups.FAILURES))
        self._dials = Totals(("service_id", "protocol", "via"), (*service, "via"), ("opened",))
        self._endpoints = Totals(("service_id", "dst_id"), (*SERVICE, "endpoint", "node"), ("opened",))
        self._observers = Totals(("node",), ("node",), ("bytes",))
        self._overlays = Totals(("node", "protocol"), ("node", "protocol"), ("bytes",))
        self._unattributed = Totals(("reason",), ("reason",), ("bytes",))
        self._views: tuple[View, ...] = (
            BothWays("flowatlas_flow_bytes_total", self._conversations, "bytes", "reply_bytes"),
            BothWays("flowatlas_flow_packets_total", self._conversations, "packets", "reply_packets"),
            Plain("flowatlas_connections_total", self._conversations, "opened"),
            Nonzero("flowatlas_connection_failures_total", self._conversations, rollups.FAILURES),
            BothWays("flowatlas_service_bytes_total", self._services, "bytes", "reply_bytes"),
            Plain("flowatlas_service_connections_total", self._dials, "opened"),
            Nonzero("flowatlas_service_connection_failures_total", self._services, rollups.FAILURES),
            Plain("flowatlas_service_endpoint_connections_total", self._endpoints, "opened"),
            Plain("flowatlas_observer_bytes_total", self._observers, "bytes"),
            Plain("flowatlas_overlay_bytes_total", self._overlays, "bytes"),
            Plain("flowatlas_unattributed_bytes_total", self._unattributed, "bytes"),
            Share(
                "flowatlas_unattributed_bytes_ratio",
                (self._unattributed, ("bytes",)),
                (self._conversations, ("bytes", "reply_bytes")),
            ),
        )
        self._snapshot: Snapshot | None = None
        self._workloads = pl.Series()

    def use(self, snapshot: Snapshot) -> None:
        """Take ids to be those of `snapshot` from now on; they mean what they did while it shares the numbering."""
        before = self._snapshot
        if snapshot is before:
            return
        if before is None or snapshot.endpoints is not before.endpoints:
            self._workloads = rollups.workload_ids(snapshot)
        if before is None or snapshot.numbering is not before.numbering:
            self._settle()
            self._tallies.forget()
            for totals in (self._conversations, self._services, self._dials, self._endpoints):
                totals.forget_ids()
        self._snapshot = snapshot
        for family in self._families:
            family.use(snapshot)

    def add(self, flows: pl.DataFrame) -> None:
        """Add flows attributed under the snapshot in use."""
        snapshot = self._require_snapshot()
        sums = rollups.summed(flows, snapshot)
        self._add_sums(sums)
        self._observers.add(rollups.observers(flows), self._name)
        self._overlays.add(rollups.overlays(flows, snapshot.endpoints["node"]), self._name)
        self._unattributed.add(rollups.unattributed(flows), self._name)
        for of_sums in self._of_sums:
            of_sums.add_sums(sums)
        for family in self._families:
            family.add(flows)

    def kept(self) -> Mapping[str, Kept]:
        """The totals, and what the families keep."""
        self._settle()
        own: dict[str, Kept] = {
            "conversations": self._conversations,
            "services": self._services,
            "dials": self._dials,
            "endpoints": self._endpoints,
            "observers": self._observers,
            "overlays": self._overlays,
            "unattributed": self._unattributed,
        }
        for family in self._families:
            own |= nested(type(family).__name__, family)
        return own

    def samples(self) -> list[Samples]:
        """Every flow metric with its values as they are now."""
        self._settle()
        own = [view.samples() for view in self._views]
        return own + [samples for family in self._families for samples in family.samples()]

    def _add_sums(self, sums: pl.DataFrame) -> None:
        measures = rollups.measures_of(sums, *rollups.CONVERSATION_MEASURES)
        ids = {name: sums[name] for name in ("service_id", "via", "protocol")}
        self._tallies.add(rollups.ends_as(sums, self._workloads) | ids, measures)
        dialled = np.flatnonzero(arrays.is_there(sums["service_id"]))
        of_service = arrays.taken(sums, dialled, "service_id", "dst_id")
        self._endpoints.count(of_service, {"opened": measures["opened"].take(dialled)}, self._name)
        if len(self._tallies) > self._most:
            self._settle()
            self._tallies.forget()

    def _settle(self) -> None:
        """Bring to the totals what workloads exchanged since the last time."""
        sums = self._tallies.taken()
        if sums.is_empty():
            return
        measures = rollups.measures_of(sums, *rollups.CONVERSATION_MEASURES)
        self._conversations.count(sums, measures, self._name)
        dialled = np.flatnonzero(arrays.is_there(sums["service_id"]))
        of_service = arrays.taken(sums, dialled, "service_id", "protocol", "via")
        measures = {measure: values.take(dialled) for measure, values in measures.items()}
        for totals in (self._services, self._dials):
            totals.count(of_service, measures, self._name)
        for family in self._of_workloads:
            family.add_workloads(sums)

    def _name(self, ids: pl.DataFrame) -> pl.DataFrame:
        named = with_labels(ids.lazy(), self._require_snapshot()).collect()
        if "endpoint" in named.columns:
            named = named.with_columns(node="destination_node")
        codes = [name for name in ("via", "reason") if name in named.columns]
        if codes:
            named = named.with_columns(pl.col(codes).cast(pl.String))
        if "protocol" in named.columns:
            named = named.with_columns(protocol=pl.lit(_PROTOCOL_TEXT).gather(pl.col("protocol")))
        return named

    def _require_snapshot(self) -> Snapshot:
        if self._snapshot is None:
            raise RuntimeError("use(snapshot) comes before add(flows)")
        return self._snapshot
