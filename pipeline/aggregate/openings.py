"""How many connections a client holds open to a Service whose connections a DestinationRule bounds.

The bound is of one client's proxy, so what is compared with it is the most that any one client holds. The invariant:
a TCP connection is held from the row that opens it to the one row that tells how it ended (`closed` comes later, when
the kernel forgets it); one from before the pipeline started is not known, and its end takes nothing away.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from collector.schema import OUTCOMES

from ..attribution import arrays
from ..attribution.mesh_lookups import MeshLookups
from ..catalog import BY_NAME
from ..inventory.snapshot import Snapshot
from ..inventory.spans import END
from ..kept import Frames, fits, rows_of
from .samples import Samples, samples_of

TCP: Final = 6
_OPEN: Final = OUTCOMES.index("open")

_HELD: Final = pl.Schema(
    {
        "src_id": pl.UInt32(),
        "service_namespace": pl.String(),
        "service": pl.String(),
        "subset": pl.String(),
        "held": pl.Int64(),
    }
)
_KEY: Final = [name for name in _HELD if name != "held"]
_CLIENT: Final = ("kind", "namespace", "name", "uid")
_NAMED: Final = pl.Schema(
    {**dict.fromkeys(_CLIENT, pl.String()), **{name: _HELD[name] for name in _HELD if name != "src_id"}}
)
_BOUNDED: Final = ["service_namespace", "service", "subset"]


class OpenConnections:
    """The connections that each client holds, of the Services and subsets that have a bound."""

    def __init__(self) -> None:
        self._held = pl.DataFrame(schema=_HELD)
        self._bounds = pl.DataFrame()
        self._is_bounded: arrays.Mask = np.zeros(0, np.bool_)
        """By service id."""
        self._mesh: MeshLookups | None = None
        """What bounds are from."""
        self._restored = pl.DataFrame(schema=_NAMED)
        """What came from a snapshot, until ids are known again."""
        self._endpoints = pl.DataFrame()

    def use(self, snapshot: Snapshot) -> None:
        """Take ids to be those of `snapshot` from now on."""
        self._endpoints = snapshot.endpoints
        if self._restored.height:
            ids = snapshot.endpoints.select(*_CLIENT[1:], pl.col("kind").cast(pl.String), src_id="id")
            known = self._restored.join(ids, on=_CLIENT).select(list(_HELD))
            self._held = pl.concat([self._held, known]).group_by(_KEY).agg(pl.col("held").sum())
            self._restored = self._restored.clear()

    def forget(self) -> None:
        """Ids mean something else from now on: what is open from before is not known any more."""
        self._held = pl.DataFrame(schema=_HELD)

    def add(self, flows: pl.DataFrame, mesh: MeshLookups, snapshot: Snapshot) -> None:
        """Add flows attributed under the snapshot, of which the canonical ones count."""
        if mesh is not self._mesh:
            self._mesh = mesh
            self._bounds = mesh.subset_rows.filter((pl.col("max_connections") > 0) & (pl.col("until") == END))
            self._is_bounded = _is_bounded(self._bounds, snapshot.services)
        if self._bounds.is_empty():
            return
        services = arrays.ids(flows["service_id"])
        rows = np.flatnonzero((flows["protocol"].to_numpy() == TCP) & (services != arrays.NO_ID))
        rows = rows[self._is_bounded.take(services.take(rows))]
        rows = rows[arrays.is_code(flows["role"], "canonical").take(rows)]
        is_ended = flows["outcome"].to_numpy().take(rows) != _OPEN
        change = flows["opened"].to_numpy().take(rows).astype(np.int64) - is_ended
        rows, change = rows[change != 0], change[change != 0]
        if not rows.size:
            return
        changes = (
            arrays.taken(flows, rows, "src_id", "service_id", "subset_id")
            .hstack([pl.Series("held", change)])
            .group_by("src_id", "service_id", "subset_id")
            .agg(pl.col("held").sum())
            .with_columns(
                *(
                    pl.lit(snapshot.services[name]).gather(pl.col("service_id")).alias(name)
                    for name in ("service_namespace", "service")
                ),
                pl.lit(mesh.subset_rows["subset"]).gather(pl.col("subset_id")).fill_null("").alias("subset"),
            )
            .select(list(_HELD))
        )
        self._held = (
            pl.concat([self._held, changes]).group_by(_KEY).agg(pl.col("held").sum()).filter(pl.col("held") > 0)
        )

    def state(self) -> Frames:
        """What each client holds, by what the client is."""
        if self._endpoints.is_empty():
            return {"held": self._restored}
        names = [pl.lit(self._endpoints[name].cast(pl.String)).gather(pl.col("src_id")).alias(name) for name in _CLIENT]
        return {"held": self._held.select(*names, *list(_HELD)[1:])}

    def restore(self, frames: Frames) -> int:
        """Take up what is held; clients that the cluster knows no more are left out."""
        if not fits(frames, held=_NAMED):
            return rows_of(frames)
        self._restored = frames["held"]
        return 0

    def samples(self) -> list[Samples]:
        """The bounds, and the most that any one client holds under each."""
        bounds: dict[tuple[str, ...], int] = {}
        if not self._bounds.is_empty():
            bounds = {
                (namespace, service, subset): bound
                for namespace, service, subset, bound in self._bounds.select(*_BOUNDED, "max_connections").iter_rows()
            }
        most = dict.fromkeys(bounds, 0) | {key: held for key, held in self._most().items() if key in bounds}
        return [
            samples_of(BY_NAME["flowatlas_mesh_max_connections"], bounds),
            samples_of(BY_NAME["flowatlas_mesh_concurrent_connections"], most),
        ]

    def _most(self) -> dict[tuple[str, ...], int]:
        """By Service and subset, and by Service with "" for all of it, the most that one client holds."""
        whole = self._held.with_columns(subset=pl.lit("")).group_by(_KEY).agg(pl.col("held").sum())
        of_clients = pl.concat([self._held.filter(pl.col("subset") != ""), whole.select(self._held.columns)])
        most = of_clients.group_by(_BOUNDED).agg(pl.col("held").max())
        return {tuple(labels): held for *labels, held in most.iter_rows()}


def _is_bounded(bounds: pl.DataFrame, services: pl.DataFrame) -> arrays.Mask:
    """By service id, whether the Service has a bound."""
    names = ["service_namespace", "service"]
    found: arrays.Mask = np.zeros(services.height, np.bool_)
    found[services.join(bounds, on=names, how="semi")["service_id"].to_numpy()] = True
    return found
