"""What a mesh was asked to do and what it does: shares of subsets, connections held open, plaintext where none may be.

The invariant: shares compare what was seen since the weights were last changed, so a changed route is never judged by
connections from before it; what was seen is counted here, for the series of a subset may go or be folded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl

from ..attribution import arrays, with_labels
from ..attribution.lookups import lookups_of
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
    {**dict.fromkeys(SUBSET, pl.String()), "weight": pl.Int64(), "total": pl.Int64(), "seen": pl.UInt64()}
)
_PLAINTEXT_IDS: Final = ("src_id", "dst_id", "service_id")

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
        self._seen: dict[tuple[str, str, str], int] = {}
        """Connections by subset since its share was last changed."""
        self._snapshot: Snapshot | None = None
        self._workloads = pl.Series()
        self._is_pod = np.zeros(0, np.bool_)
        """By endpoint id."""

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
        self._is_pod = lookups_of(snapshot).is_pod.to_numpy()
        self._take_shares(shares_now(mesh_lookups_of(snapshot)))

    def add(self, flows: pl.DataFrame) -> None:
        """Add flows attributed under the snapshot in use."""
        snapshot = self._require_snapshot()
        mesh = mesh_lookups_of(snapshot)
        if mesh.has_members:
            is_canonical = arrays.is_code(flows["role"], "canonical")
            is_member = ~arrays.is_code(mesh.members, "none")
            self._count_subsets(flows, is_canonical, is_member, mesh)
            self._count_plaintext(flows, is_canonical, is_member, mesh)
        if not mesh.subset_rows.is_empty():
            self._open.add(flows, mesh, snapshot)

    def _count_subsets(
        self, flows: pl.DataFrame, is_canonical: arrays.Mask, is_member: arrays.Mask, mesh: MeshLookups
    ) -> None:
        """What clients of the mesh sent to subsets; other clients share out nothing."""
        is_shared = is_canonical & arrays.is_there(flows["subset_id"])
        rows = np.flatnonzero(is_shared & is_member.take(flows["src_id"].to_numpy()))
        shared = arrays.taken(flows, rows, "subset_id", *SUBSET_MEASURES)
        self._subsets.count(shared, rollups.of_rows(shared, *SUBSET_MEASURES), self._named)
        if self._shares:
            self._see(shared, mesh)

    def _see(self, shared: pl.DataFrame, mesh: MeshLookups) -> None:
        """Count connections of subsets that have a configured share."""
        opened = np.bincount(arrays.ids(shared["subset_id"]), shared["opened"].to_numpy())
        subsets = np.flatnonzero(opened)
        names = arrays.taken(mesh.subset_rows, subsets, *SUBSET).iter_rows()
        for (namespace, service, subset), count in zip(names, opened[subsets].tolist(), strict=True):
            key = namespace, service, subset
            if key in self._shares:
                self._seen[key] = self._seen.get(key, 0) + int(count)

    def _count_plaintext(
        self, flows: pl.DataFrame, is_canonical: arrays.Mask, is_member: arrays.Mask, mesh: MeshLookups
    ) -> None:
        """Connections opened by pods outside the mesh to pods in it that took nothing but mutual TLS."""
        is_plain = is_canonical & (flows["opened"].to_numpy() > 0) & arrays.is_code(flows["mesh"], "none")
        is_outsider = self._is_pod & ~is_member
        is_plain &= is_outsider.take(flows["src_id"].to_numpy()) & is_member.take(flows["dst_id"].to_numpy())
        rows = np.flatnonzero(is_plain)
        if not rows.size:
            return
        found = arrays.taken(flows, rows, *_PLAINTEXT_IDS, "backend_port", "start", "opened")
        is_told = ~np.isin(found["backend_port"].to_numpy(), UNGUARDED_PORTS)
        is_told &= mesh.is_strict(found["dst_id"], found["backend_port"], found["start"]).to_numpy()
        told = arrays.taken(found, np.flatnonzero(is_told), *_PLAINTEXT_IDS, "opened")
        ids = rollups.ends_as(told, self._workloads) | {"service_id": told["service_id"]}
        self._plaintext.count(ids, rollups.of_rows(told, "opened"), self._named)

    def kept(self) -> Mapping[str, Kept]:
        """The totals, what is held open, and the shares with what was seen of them."""
        return {"subsets": self._subsets, "plaintext": self._plaintext, "open": self._open, "shares": self}

    def state(self) -> Frames:
        """The shares, and the connections by subset since they were last changed."""
        rows = [(*key, weight, total, self._seen.get(key, 0)) for key, (weight, total) in self._shares.items()]
        return {"shares": pl.DataFrame(rows, schema=_SHARES, orient="row")}

    def restore(self, frames: Frames) -> int:
        """Take up shares: those that are asked for still are judged on from where they stood."""
        if not fits(frames, shares=_SHARES):
            return rows_of(frames)
        for namespace, service, subset, weight, total, seen in frames["shares"].iter_rows():
            self._shares[namespace, service, subset] = weight, total
            self._seen[namespace, service, subset] = seen
        return 0

    def samples(self) -> list[Samples]:
        """Every metric of the mesh with its values as they are now."""
        return [
            *(view.samples() for view in self._views),
            samples_of(
                BY_NAME["flowatlas_mesh_subset_configured_ratio"],
                {key: weight / total for key, (weight, total) in self._shares.items()},
            ),
            samples_of(BY_NAME["flowatlas_mesh_subset_observed_ratio"], self._observed()),
            *self._open.samples(),
        ]

    def _take_shares(self, shares: Shares) -> None:
        changed = {key[:2] for key in {*shares, *self._shares} if shares.get(key) != self._shares.get(key)}
        self._seen = {key: count for key, count in self._seen.items() if key in shares and key[:2] not in changed}
        self._shares = shares

    def _observed(self) -> dict[tuple[str, ...], float]:
        """By subset with a configured share and by bound: the share of the Service's connections that it got."""
        seen = {key: self._seen.get(key, 0) for key in self._shares}
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
