"""Signals of Services: dialled without an endpoint, bypassed, called last; and their parts with memory of their own.

They look at connections, on the one row that says that a connection was opened. The invariant: each such row is judged
alone here, so batches may come in any order; `skew` and `affinity`, which look at several, say for themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl

from ..attribution.services import is_redirected
from ..catalog import BY_NAME, SERVICE
from ..inventory.readiness import lacking
from ..inventory.snapshot import Snapshot
from ..inventory.spans import END
from ..kept import Frames, Kept, fits, rows_of
from . import rollups
from .affinity import Affinity
from .direct import ROUTED, direct_connections
from .event_time import Newest
from .samples import Samples
from .service_ports import ServicePorts
from .skew import Skew, calls_of
from .totals import Totals
from .views import Plain

_COLUMNS: Final = (
    *("src_id", "dst_id", "service_id", "service_set", "node", "start", "opened", "protocol", "mesh", "via"),
    *("src_hi", "src_lo", "dst_hi", "dst_lo", "backend_hi", "backend_lo", "backend_port"),
)
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
        for part in (self._affinity, self._skew, self._last_call):
            part.use(snapshot)

    def add(self, flows: pl.DataFrame) -> None:
        """Add flows attributed under the snapshot in use."""
        if self._snapshot is None:
            raise RuntimeError("use(snapshot) comes before add(flows)")
        snapshot = self._snapshot
        is_connection = (pl.col("role") == "canonical") & (pl.col("opened") > 0)
        present = [name for name in (*_COLUMNS, *ROUTED) if name in flows.columns]
        opened = flows.lazy().filter(is_connection).select(present).collect()
        dialled = opened.filter(pl.col("service_id").is_not_null())
        direct = direct_connections(opened, snapshot)
        self._lacking.add(_without_endpoint(dialled, snapshot), self._name)
        self._bypass.add(_bypassing(direct, self._workloads), self._name)
        if dialled.height:
            self._newest.see(dialled["start"])
        calls = calls_of(dialled, self._ports)
        self._last_call.add(calls)
        self._last_call.add(direct.explode("headless").select(self._ports.number("headless"), "start"))
        self._affinity.add(dialled)
        self._skew.add(calls)

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

    def add(self, calls: pl.DataFrame) -> None:
        """Take in connections with the `number` of the Service port (null for none) and `start`."""
        newest = (
            calls.lazy().select("number", "start").drop_nulls().group_by("number").agg(pl.col("start").max()).collect()
        )
        self._grow()
        numbers = newest["number"].to_numpy()
        self._last_ns[numbers] = np.maximum(self._last_ns[numbers], newest["start"].to_numpy())

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


def _without_endpoint(dialled: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame:
    """`opened` by service id, of connections that nobody answered while the Service had no ready endpoint."""
    spans = lacking(snapshot)
    is_of_them = pl.col("service_id").is_in(spans["service_id"].unique().implode())
    is_answered = is_redirected() | (pl.col("via") == "alias")  # what has a name only is beyond the cluster
    candidates = dialled.filter(is_of_them & ~is_answered)
    return (
        candidates.select("service_id", "start", "opened")
        .join(spans, on="service_id")
        .filter(pl.col("since") <= pl.col("start"), pl.col("start") < pl.col("until"))
        .group_by("service_id")
        .agg(pl.col("opened").sum().cast(pl.UInt64))
    )


def _bypassing(direct: pl.DataFrame, workloads: pl.Series) -> pl.DataFrame:
    """`opened` by src_id, standing for its workload, and service id, of connections that had another way."""
    return (
        direct.filter(pl.col("headless").list.len() == 0)
        .group_by(pl.lit(workloads).gather(pl.col("src_id")).alias("src_id"), "service_id")
        .agg(pl.col("opened").sum().cast(pl.UInt64))
    )
