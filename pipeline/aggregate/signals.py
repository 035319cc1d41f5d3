"""Signals of Services: dialled without an endpoint, bypassed, called last; and their parts with memory of their own.

They look at connections, on the one row that says that a connection was opened. The invariant: each such row is judged
alone here, so batches may come in any order; `skew` and `affinity`, which look at several, say for themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..attribution import arrays
from ..attribution.arrays import Rows
from ..attribution.lookups import lookups_of
from ..attribution.services import redirected
from ..attribution.timelines import Timeline
from ..catalog import BY_NAME, SERVICE
from ..inventory.readiness import lacking
from ..inventory.snapshot import Snapshot
from ..inventory.spans import END
from ..kept import Frames, Kept, fits, rows_of
from . import rollups
from .affinity import Affinity
from .direct import Direct, direct_connections
from .event_time import Newest
from .samples import Samples
from .service_ports import MOST_FORGOTTEN, ServicePorts
from .skew import Skew, calls_of
from .totals import Totals
from .views import Plain

_ADDRESSES: Final = ("dst_hi", "dst_lo", "backend_hi", "backend_lo")
_CALLS: Final = ("node", "start", "src_hi", "src_lo", *_ADDRESSES, "backend_port")

_LAST: Final = pl.Schema({"ns": pl.Int64})
_SOURCE: Final = ("source_namespace", "source_workload", "source_workload_kind")


class ServiceSignals:
    """All signals of Services. `use` a snapshot first, then `add` flows attributed under it."""

    def __init__(self) -> None:
        self._ports = ServicePorts()
        self._lacking = Totals(("service_id",), SERVICE, ("opened",))
        self._bypass = Totals(("src_id", "service_id"), (*_SOURCE, *SERVICE), ("opened",))
        self._views = (
            Plain("flowatlas_service_no_endpoint_connections_total", self._lacking, "opened"),
            Plain("flowatlas_service_bypass_connections_total", self._bypass, "opened"),
        )
        self._newest = Newest()
        self._affinity = Affinity(self._ports, self._newest)
        self._skew = Skew(self._ports, self._newest)
        self._last_call = LastCall(self._ports)
        self._snapshot: Snapshot | None = None
        self._workloads = pl.Series()

    def use(self, snapshot: Snapshot) -> None:
        """Take ids to be those of `snapshot` from now on."""
        if snapshot is self._snapshot:
            return
        if self._snapshot is None or snapshot.numbering is not self._snapshot.numbering:
            self._lacking.forget_ids()
            self._bypass.forget_ids()
        self._snapshot = snapshot
        self._workloads = rollups.workload_ids(snapshot)
        self._ports.use(snapshot)
        self._forget_ports()
        for part in (self._affinity, self._skew, self._last_call):
            part.use(snapshot)

    def add(self, flows: pl.DataFrame) -> None:
        """Add flows attributed under the snapshot in use."""
        if self._snapshot is None:
            raise RuntimeError("use(snapshot) comes before add(flows)")
        snapshot = self._snapshot
        is_connection = arrays.is_code(flows["role"], "canonical") & (flows["opened"].to_numpy() > 0)
        direct = direct_connections(flows, is_connection, snapshot)
        if direct.rows.size:
            self._add_direct(flows, direct)
        rows = np.flatnonzero(is_connection & arrays.is_there(flows["service_id"]))
        if rows.size:
            self._add_dialled(flows, rows, snapshot)
        if "service_set" in flows.columns and flows["service_set"].null_count() < flows.height:
            self._add_ambiguous(flows, np.flatnonzero(is_connection & arrays.is_there(flows["service_set"])), snapshot)

    def _forget_ports(self) -> None:
        """Give new numbers where most Service ports that have one are gone."""
        if self._ports.labels.height <= 2 * len(self._ports.of_id) + MOST_FORGOTTEN:
            return
        self._affinity.totals.forget_ids()  # which are these numbers
        used = [part.numbers() for part in (self._affinity, self._skew)]
        numbers = self._ports.keep(pl.concat(used).to_numpy())
        for part in (self._affinity, self._skew, self._last_call):
            part.renumber(numbers)

    def _add_direct(self, flows: pl.DataFrame, direct: Direct) -> None:
        """Add the connections around Services."""
        told = arrays.taken(flows, direct.rows, "src_id", "opened")
        services = direct.service
        ids = {
            "src_id": pl.Series(self._workloads.to_numpy().take(told["src_id"].to_numpy())),
            "service_id": arrays.nullable(services.view(np.uint32), services >= 0),
        }
        self._bypass.count(ids, rollups.of_rows(told, "opened"), self._name)

    def _add_dialled(self, flows: pl.DataFrame, rows: Rows, snapshot: Snapshot) -> None:
        """Add the connections in some rows: those to Services. Nothing chooses among a headless one's endpoints, so of
        those only the last call is told."""
        starts = flows["start"].to_numpy()
        self._last_call.add(self._numbers(arrays.numbers(flows["service_id"]).take(rows)), starts.take(rows))
        rows = rows[~arrays.is_code(flows["via"], "headless").take(rows)]
        if not rows.size:
            return
        dialled = arrays.taken(flows, rows, "service_id", "start", "backend_hi", "backend_lo")
        self._newest.see(dialled["start"])
        numbers = self._numbers(dialled["service_id"].to_numpy())
        self._skew.add(calls_of(dialled.hstack([pl.Series("number", numbers)])))
        if self._affinity.is_asked_for:
            sticky = np.flatnonzero(self._affinity.is_sticky(numbers))
            calls = arrays.taken(flows, rows[sticky], *_CALLS)
            self._affinity.add(calls.hstack([pl.Series("number", numbers[sticky])]))
        in_vain = _without_endpoint(flows, rows, _lacking(snapshot))
        told = arrays.taken(flows, in_vain, "service_id", "opened")
        self._lacking.count(told, rollups.of_rows(told, "opened"), self._name)

    def _add_ambiguous(self, flows: pl.DataFrame, rows: Rows, snapshot: Snapshot) -> None:
        """Add the connections in some rows, each to one of several Services: none of these is sure to be idle."""
        sets = lookups_of(snapshot).service_sets.gather(arrays.numbers(flows["service_set"]).take(rows))
        starts = np.repeat(flows["start"].to_numpy().take(rows), sets.list.len().to_numpy())
        self._last_call.add(self._numbers(sets.explode().to_numpy()), starts)

    def _numbers(self, service_ids: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """The numbers of Service ports."""
        return self._ports.of_id.to_numpy().take(service_ids)

    def settle(self) -> None:
        """Judge what waits for connections that may still come, for none will."""
        self._affinity.settle(END)

    def kept(self) -> Mapping[str, Kept]:
        """The totals, the numbers of Service ports, and what is kept under them."""
        return {
            "ports": self._ports,
            "newest": self._newest,
            "lacking": self._lacking,
            "bypass": self._bypass,
            "affinity": self._affinity,
            "affinity_totals": self._affinity.totals,
            "skew": self._skew,
            "last_call": self._last_call,
        }

    def samples(self) -> list[Samples]:
        """Every signal with its values as they are now."""
        parts = (self._affinity, self._skew, self._last_call)
        return [*(view.samples() for view in self._views), *(s for part in parts for s in part.samples())]

    def _name(self, ids: pl.DataFrame) -> pl.DataFrame:
        assert self._snapshot is not None  # noqa: S101 - `add` has looked
        services, endpoints = self._snapshot.services, self._snapshot.endpoints
        names = [pl.lit(services[label]).gather(pl.col("service_id")).fill_null("").alias(label) for label in SERVICE]
        if "src_id" in ids.columns:
            names += [
                pl.lit(endpoints[label.removeprefix("source_")]).gather(pl.col("src_id")).alias(label)
                for label in _SOURCE
            ]
        return ids.select(names)


class LastCall:
    """When a connection to each Service port last began."""

    def __init__(self, ports: ServicePorts) -> None:
        self._metric = BY_NAME["flowatlas_service_last_connection_timestamp_seconds"]
        self._ports = ports
        self._last_ns = np.zeros(0, np.int64)
        self._shown = pl.Series("number", dtype=pl.UInt32)
        self._labels = pl.DataFrame(schema=dict.fromkeys(SERVICE, pl.String))
        self._declared: pl.DataFrame | None = None

    def use(self, snapshot: Snapshot) -> None:
        """Show the Service ports that are declared now."""
        declared = snapshot.tracked["service_ports"]
        if declared is self._declared:
            return
        self._declared = declared
        labels = declared.filter(pl.col("until") == END).select(SERVICE).unique().sort(SERVICE)
        self._shown = self._ports.numbered(labels)
        if not labels.equals(self._labels):
            self._labels = labels

    def add(self, numbers: NDArray[np.uint32], starts: NDArray[np.int64]) -> None:
        """Take in when connections to Service ports began."""
        self._grow()
        np.maximum.at(self._last_ns, numbers, starts)

    def renumber(self, numbers: pl.Series) -> None:
        """Service ports have new numbers: `numbers` has them by those of before."""
        is_kept = numbers.is_not_null().to_numpy()
        self._last_ns = self._last_ns[is_kept[: len(self._last_ns)]]
        self._declared = None

    def state(self) -> Frames:
        """When the last connection to each Service port began, by its number."""
        self._grow()
        return {"last": pl.DataFrame({"ns": self._last_ns}, schema=_LAST)}

    def restore(self, frames: Frames) -> int:
        """Take up instants; the numbers of Service ports are restored before them."""
        if not fits(frames, last=_LAST) or frames["last"].height > self._ports.labels.height:
            return rows_of(frames)
        self._last_ns = frames["last"]["ns"].to_numpy().copy()
        return 0

    def samples(self) -> list[Samples]:
        """The metric, with a series for every Service port that is declared."""
        self._grow()
        seconds = self._last_ns[self._shown.to_numpy()] / 1e9
        return [Samples(self._metric, self._labels, pl.Series("value", seconds, dtype=pl.Float64))]

    def _grow(self) -> None:
        missing = self._ports.labels.height - len(self._last_ns)
        self._last_ns = np.concatenate([self._last_ns, np.zeros(missing, np.int64)])


@lru_cache(maxsize=2)
def _lacking(snapshot: Snapshot) -> Timeline:
    """When each Service port had no ready endpoint."""
    spans = lacking(snapshot)
    return Timeline(spans, spans["service_id"].to_numpy().astype(np.int32), snapshot.services.height)


def _without_endpoint(flows: pl.DataFrame, rows: Rows, spans: Timeline) -> Rows:
    """Those of connections to Services that nobody answered while the Service had no ready endpoint."""
    services = arrays.numbers(flows["service_id"]).take(rows)
    rows = rows[spans.rows_at(services, flows["start"].to_numpy().take(rows)) >= 0]
    is_answered = redirected(flows, rows)
    is_answered |= arrays.is_code(flows["via"], "alias").take(rows)  # what has a name only is beyond the cluster
    return rows[~is_answered]
