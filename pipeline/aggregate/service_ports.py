"""Service ports by numbers that outlive snapshots, for state that is kept over time.

The invariant: a number means the same labels until `keep` gives new ones.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..attribution import arrays
from ..catalog import SERVICE
from ..inventory.snapshot import Snapshot
from ..kept import Frames, fits, rows_of

MOST_FORGOTTEN: Final = 10_000
"""Service ports that nothing is kept under and that may still have numbers."""


class ServicePorts:
    """Numbers of the Service ports that were met: row `number` of `labels`."""

    def __init__(self) -> None:
        self.labels = pl.DataFrame(schema=dict.fromkeys(SERVICE, pl.String))
        self.of_id = pl.Series("number", dtype=pl.UInt32)
        """By service id of the snapshot in use: its number."""
        self._services: pl.DataFrame | None = None

    def state(self) -> Frames:
        """The labels by number."""
        return {"labels": self.labels}

    def restore(self, frames: Frames) -> int:
        """Take up numbers: what else is kept by number is restored after this."""
        if not fits(frames, labels=self.labels.schema):
            return rows_of(frames)
        self.labels = frames["labels"]
        return 0

    def use(self, snapshot: Snapshot) -> None:
        """Take service ids to be those of `snapshot` from now on."""
        if snapshot.services is self._services:
            return
        self._services = snapshot.services
        self.of_id = self.numbered(snapshot.services)

    def numbered(self, frame: pl.DataFrame) -> pl.Series:
        """The numbers of rows with the SERVICE labels; labels that were never met get new ones."""
        met = frame.select(SERVICE)
        new = met.unique(maintain_order=True).join(self.labels, on=SERVICE, how="anti", maintain_order="left")
        if new.height:
            self.labels = pl.concat([self.labels, new], rechunk=True)
        known = self.labels.with_row_index("number")
        return met.join(known, on=SERVICE, how="left", maintain_order="left")["number"]

    def keep(self, numbers: NDArray[np.uint32]) -> pl.Series:
        """Forget all Service ports but these and those of the snapshot in use, and keep their order. By number until
        now, the new one: null where the Service port is forgotten."""
        is_kept = np.zeros(self.labels.height, np.bool_)
        is_kept[np.concatenate([numbers, self.of_id.to_numpy()])] = True
        kept = np.flatnonzero(is_kept)
        renumbered = arrays.nullable((np.cumsum(is_kept) - 1).astype(np.uint32), is_kept).alias("number")
        self.labels, self.of_id = self.labels[kept], renumbered[self.of_id]
        return renumbered

    def number(self, service_id: str = "service_id") -> pl.Expr:
        """The number of the Service port with the id in a column; null where that is."""
        return pl.lit(self.of_id).gather(pl.col(service_id)).alias("number")
