"""What a mesh was asked to do and what it does: shares of subsets, connections held open, plaintext where none may be.

The invariant: shares compare what was seen since the weights were last changed, so a changed route is never judged by
connections from before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

from ..attribution import with_labels
from ..attribution.mesh_lookups import MeshLookups, mesh_lookups_of
from ..catalog import BY_NAME, PAIR, SERVICE, SUBSET
from ..inventory.snapshot import Snapshot
from ..inventory.spans import END
from ..kept import Frames, Kept, fits, rows_of
from . import rollups
from .intervals import wilson
from .openings import OpenConnections
from .samples import Samples, samples_of
from .totals import Totals
from .views import BothWays, Plain, View

SUBSET_MEASURES: Final = ("bytes", "reply_bytes", "opened")
UNGUARDED_PORTS: Final = (15020, 15021, 15090)
"""Ports that a sidecar answers in plain whatever the mesh says: probes and metrics."""

_SHARES: Final = pl.Schema(
    {**dict.fromkeys(SUBSET, pl.String()), "weight": pl.Int64(), "total": pl.Int64(), "before": pl.UInt64()}
)
_PLAINTEXT_IDS: Final = ("src_id", "dst_id", "service_id")
_IS_CANONICAL: Final = pl.col("role") == "canonical"

Shares = dict[tuple[str, str, str], tuple[int, int]]
"""Weight and total weight by Service and subset."""


class MeshMetrics:
    """Metrics of subsets and findings about mutual TLS."""

    def __init__(self) -> None:
        self._subsets = Totals(("subset_id",), SUBSET, SUBSET_MEASURES)
        self._plaintext = Totals(_PLAINTEXT_IDS, (*PAIR, *SERVICE), ("opened",))
        self._open = OpenConnections()
        self._views: tuple[View, ...] = (
            BothWays("flowatlas_mesh_subset_bytes_total", self._subsets, "bytes", "reply_bytes"),
            Plain("flowatlas_mesh_subset_connections_total", self._subsets, "opened"),
            Plain("flowatlas_mesh_plaintext_connections_total", self._plaintext, "opened"),
        )
        self._shares: Shares = {}
        self._before: dict[tuple[str, str, str], int] = {}
        """Connections by subset when its share was last changed."""
        self._snapshot: Snapshot | None = None
        self._workloads = pl.Series()

    def use(self, snapshot: Snapshot) -> None:
        """Take ids to be those of `snapshot` from now on."""
        if snapshot is self._snapshot:
            return
        if self._snapshot is None or snapshot.numbering is not self._snapshot.numbering:
            self._subsets.forget_ids()
            self._plaintext.forget_ids()
            self._open.forget()
        self._snapshot = snapshot
        self._open.use(snapshot)
        self._workloads = rollups.workload_ids(snapshot)
        self._take_shares(shares_now(mesh_lookups_of(snapshot)))

    def add(self, flows: pl.DataFrame) -> None:
        """Add flows attributed under the snapshot in use."""
        snapshot = self._require_snapshot()
        mesh = mesh_lookups_of(snapshot)
        if mesh.has_members:
            self._subsets.add(subset_connections(flows.lazy(), mesh).collect(), self._named)
            plain = plaintext(flows.lazy(), mesh, snapshot, self._workloads)
            self._plaintext.add(plain, self._named)
        if not mesh.subset_rows.is_empty():
            self._open.add(flows.lazy().filter(_IS_CANONICAL), mesh, snapshot)

    def kept(self) -> Mapping[str, Kept]:
        """The totals, what is held open, and how shares stood when they were last changed."""
        return {"subsets": self._subsets, "plaintext": self._plaintext, "open": self._open, "shares": self}

    def state(self) -> Frames:
        """The shares, and the connections by subset when they were last changed."""
        rows = [(*key, weight, total, self._before.get(key, 0)) for key, (weight, total) in self._shares.items()]
        return {"shares": pl.DataFrame(rows, schema=_SHARES, orient="row")}

    def restore(self, frames: Frames) -> int:
        """Take up shares: those that are asked for still are judged on from where they stood."""
        if not fits(frames, shares=_SHARES):
            return rows_of(frames)
        for namespace, service, subset, weight, total, before in frames["shares"].iter_rows():
            self._shares[namespace, service, subset] = weight, total
            self._before[namespace, service, subset] = before
        return 0

    def samples(self) -> list[Samples]:
        """Every metric of the mesh with its values as they are now."""
        counts = self._counts()
        return [
            *(view.samples() for view in self._views),
            samples_of(
                BY_NAME["flowatlas_mesh_subset_configured_ratio"],
                {key: weight / total for key, (weight, total) in self._shares.items()},
            ),
            samples_of(BY_NAME["flowatlas_mesh_subset_observed_ratio"], self._observed(counts)),
            *self._open.samples(),
        ]

    def _take_shares(self, shares: Shares) -> None:
        changed = {key[:2] for key in {*shares, *self._shares} if shares.get(key) != self._shares.get(key)}
        if changed:
            counts = self._counts()
            self._before |= {key: counts.get(key, 0) for key in shares if key[:2] in changed}
            self._before = {key: count for key, count in self._before.items() if key in shares}
        self._shares = shares

    def _counts(self) -> dict[tuple[str, str, str], int]:
        counts = self._subsets.measure("opened").to_list()
        return dict(zip(self._subsets.labels.rows(), counts, strict=True))

    def _observed(self, counts: dict[tuple[str, str, str], int]) -> dict[tuple[str, ...], float]:
        """By subset with a configured share and by bound: the share of the Service's connections that it got."""
        seen = {key: counts.get(key, 0) - self._before.get(key, 0) for key in self._shares}
        totals: dict[tuple[str, str], int] = {}
        for (namespace, service, _), count in seen.items():
            totals[namespace, service] = totals.get((namespace, service), 0) + count
        found: dict[tuple[str, ...], float] = {}
        for key, count in seen.items():
            interval = wilson(count, totals[key[:2]])
            found |= {(*key, bound): value for bound, value in interval._asdict().items()}
        return found

    def _named(self, ids: pl.DataFrame) -> pl.DataFrame:
        snapshot = self._require_snapshot()
        if "subset_id" in ids.columns:
            rows = mesh_lookups_of(snapshot).subset_rows
            return ids.select(pl.lit(rows[name]).gather(pl.col("subset_id")).alias(name) for name in SUBSET)
        return with_labels(ids.lazy(), snapshot).collect()

    def _require_snapshot(self) -> Snapshot:
        if self._snapshot is None:
            raise RuntimeError("use(snapshot) comes before add(flows)")
        return self._snapshot


def shares_now(mesh: MeshLookups) -> Shares:
    """The shares that are asked for at the end of what is known."""
    now = mesh.shares.filter(pl.col("until") == END)
    return {
        (namespace, service, subset): (weight, total)
        for namespace, service, subset, weight, total in now.drop("since", "until").iter_rows()
    }


def subset_connections(flows: pl.LazyFrame, mesh: MeshLookups) -> pl.LazyFrame:
    """SUBSET_MEASURES of what clients of the mesh sent to subsets, by subset_id; other clients share out nothing."""
    is_from_mesh = pl.lit(mesh.members).gather(pl.col("src_id")) != "none"
    return (
        flows.filter(_IS_CANONICAL & pl.col("subset_id").is_not_null() & is_from_mesh)
        .group_by("subset_id")
        .agg(*(rollups.measured(measure) for measure in SUBSET_MEASURES))
    )


def plaintext(flows: pl.LazyFrame, mesh: MeshLookups, snapshot: Snapshot, workloads: pl.Series) -> pl.DataFrame:
    """Connections opened by pods outside the mesh to pods in it that took nothing but mutual TLS, by src_id, dst_id
    (each standing for its workload) and service_id."""
    members = pl.lit(mesh.members)
    is_pod = pl.lit(snapshot.endpoints["kind"] == "Pod").gather(pl.col("src_id"))
    found = (
        flows.filter(_IS_CANONICAL & (pl.col("opened") > 0) & (pl.col("mesh") == "none"))
        .filter(is_pod & (members.gather(pl.col("src_id")) == "none"))
        .filter((members.gather(pl.col("dst_id")) != "none") & ~pl.col("backend_port").is_in(UNGUARDED_PORTS))
        .select(*_PLAINTEXT_IDS, "backend_port", "start", "opened")
        .collect()
    )
    told = found.filter(mesh.is_strict(found["dst_id"], found["backend_port"], found["start"]))
    table = pl.lit(workloads)
    return told.group_by(
        table.gather(pl.col("src_id")).alias("src_id"), table.gather(pl.col("dst_id")).alias("dst_id"), "service_id"
    ).agg(rollups.measured("opened"))
