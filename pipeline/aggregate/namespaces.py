"""What namespaces exchange: sums over workloads and Services, small enough to be read over a whole cluster at once.

They are sums of their own, not of the series by workload, which may be folded or expire: a total never falls. The
invariant: every canonical flow is in each metric once, under the namespaces of its two ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import polars as pl

from ..inventory.snapshot import Snapshot
from ..kept import Kept
from . import rollups
from .samples import Samples
from .totals import Totals
from .views import BothWays, Nonzero, Plain, View

_MEASURES: Final = ("bytes", "reply_bytes", "opened", *rollups.FAILURES)
_ENDS: Final = {"src_id": "source_namespace", "dst_id": "destination_namespace"}


class NamespaceMetrics:
    """Metrics by pair of namespaces. `use` a snapshot first, then `add_workloads` of flows attributed under it."""

    def __init__(self) -> None:
        self._pairs = Totals(tuple(_ENDS), tuple(_ENDS.values()), _MEASURES)
        self._views: tuple[View, ...] = (
            BothWays("flowatlas_namespace_bytes_total", self._pairs, "bytes", "reply_bytes"),
            Plain("flowatlas_namespace_connections_total", self._pairs, "opened"),
            Nonzero("flowatlas_namespace_connection_failures_total", self._pairs, rollups.FAILURES),
        )
        self._snapshot: Snapshot | None = None

    def use(self, snapshot: Snapshot) -> None:
        """Take ids to be those of `snapshot` from now on."""
        if self._snapshot is None or snapshot.numbering is not self._snapshot.numbering:
            self._pairs.forget_ids()
        self._snapshot = snapshot

    def add(self, flows: pl.DataFrame) -> None:
        """Nothing here depends on one flow alone."""

    def add_workloads(self, sums: pl.DataFrame) -> None:
        """Add what workloads exchanged in flows attributed under the snapshot in use."""
        snapshot = self._require_snapshot()
        ends = rollups.ends_as(sums, _namespace_ids(snapshot))
        self._pairs.count(ends, rollups.measures_of(sums, *_MEASURES), self._named)

    def kept(self) -> Mapping[str, Kept]:
        """The totals."""
        return {"pairs": self._pairs}

    def samples(self) -> list[Samples]:
        """Every metric by pair of namespaces with its values as they are now."""
        return [view.samples() for view in self._views]

    def _named(self, ids: pl.DataFrame) -> pl.DataFrame:
        names = pl.lit(self._require_snapshot().endpoints["namespace"])
        return ids.select(names.gather(pl.col(end)).alias(label) for end, label in _ENDS.items())

    def _require_snapshot(self) -> Snapshot:
        if self._snapshot is None:
            raise RuntimeError("use(snapshot) comes before add_workloads(sums)")
        return self._snapshot


@lru_cache(maxsize=2)
def _namespace_ids(snapshot: Snapshot) -> pl.Series:
    """By endpoint id, the least id in its namespace, which stands for it; nodes and what is outside are in one."""
    return snapshot.endpoints.select(pl.col("id").min().over("namespace"))["id"]
