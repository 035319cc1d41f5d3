"""Packets that kernels dropped, summed by who sent them to whom, and the kernel's reason.

The invariant: every attributed drop is in both metrics once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

from ..attribution import with_labels
from ..catalog import PAIR
from ..inventory.snapshot import Snapshot
from ..kept import Kept
from .rollups import workload_ids
from .samples import Samples
from .totals import Totals
from .views import Plain

_MEASURES: Final = ("packets", "bytes")
_IDS: Final = ("src_id", "dst_id", "reason")


class DropMetrics:
    """Totals of drops, in packets and bytes."""

    def __init__(self) -> None:
        self._totals = Totals(_IDS, (*PAIR, "reason"), _MEASURES)
        self._views = (
            Plain("flowatlas_drops_total", self._totals, "packets"),
            Plain("flowatlas_dropped_bytes_total", self._totals, "bytes"),
        )
        self._snapshot: Snapshot | None = None

    def add(self, drops: pl.DataFrame, snapshot: Snapshot) -> None:
        """Add drops attributed under `snapshot`."""
        if self._snapshot is None or snapshot.numbering is not self._snapshot.numbering:
            self._totals.forget_ids()
        self._snapshot = snapshot
        workloads = pl.lit(workload_ids(snapshot))
        summed = (
            drops.lazy()
            .group_by(
                *(workloads.gather(pl.col(end)).alias(end) for end in ("src_id", "dst_id")),
                pl.col("reason").cast(pl.String),
            )
            .agg(pl.col(_MEASURES).cast(pl.UInt64).sum())
            .collect()
        )
        self._totals.add(summed, lambda ids: with_labels(ids.lazy(), snapshot).collect())

    def kept(self) -> Mapping[str, Kept]:
        """The totals."""
        return {"drops": self._totals}

    def samples(self) -> list[Samples]:
        """Both metrics as they are now."""
        return [view.samples() for view in self._views]
