"""How many destinations each workload tried in vain, over the last ten minutes of event time: what a scan raises.

A destination is an address, port and protocol as dialled; tried in vain is what was refused or never answered. The
invariant: a destination counts once however often it is tried, and what is kept is bounded whatever is tried: beyond
MOST_DESTINATIONS of a workload and MOST_ROWS of all the oldest are forgotten, so that the figure is a lower bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl

from collector.schema import OUTCOMES

from ..attribution import arrays
from ..catalog import BY_NAME
from ..inventory.snapshot import Snapshot
from ..kept import Frames, Kept, fits, rows_of
from .event_time import Newest
from .rollups import workload_ids
from .samples import Samples

BUCKET_NS: Final = 60 * 10**9
BUCKETS: Final = 10
"""The window is so many buckets of when connections began, the newest one among them."""
LEAST_DESTINATIONS: Final = 10
"""Workloads with fewer have no series: a few backends that are away are no scan."""
MOST_DESTINATIONS: Final = 10_000
MOST_ROWS: Final = 500_000
"""Some 30 bytes each."""

_IN_VAIN: Final = tuple(OUTCOMES.index(outcome) for outcome in ("refused", "no_reply"))
_KEY: Final = ("src_id", "dst_hi", "dst_lo", "dst_port", "protocol")
_TRIED: Final = pl.Schema(
    {
        "src_id": pl.UInt32,
        "dst_hi": pl.UInt64,
        "dst_lo": pl.UInt64,
        "dst_port": pl.UInt16,
        "protocol": pl.UInt8,
        "bucket": pl.Int64,
    }
)

_WORKLOAD: Final = ("namespace", "workload", "workload_kind")
_NAMED: Final = pl.Schema(
    {**dict.fromkeys(_WORKLOAD, pl.String()), **{name: _TRIED[name] for name in _TRIED.names()[1:]}}
)


class Scans:
    """The destinations tried in vain, with the bucket of the newest try of each."""

    def __init__(self, most_destinations: int = MOST_DESTINATIONS, most_rows: int = MOST_ROWS) -> None:
        self._metric = BY_NAME["flowatlas_workload_failed_destinations"]
        self._most_destinations = most_destinations
        self._most_rows = most_rows
        self._newest = Newest()
        self._tried = [pl.DataFrame(schema=_TRIED)]
        self._labels = pl.DataFrame(schema=dict.fromkeys(self._metric.labels, pl.String))
        self._restored = pl.DataFrame(schema=_NAMED)
        """What came from a snapshot, until ids are known again."""
        self._snapshot: Snapshot | None = None

    def use(self, snapshot: Snapshot) -> None:
        """Take ids to be those of `snapshot` from now on; where they mean something else, the window begins anew."""
        if self._snapshot is None or snapshot.numbering is not self._snapshot.numbering:
            self._tried = [pl.DataFrame(schema=_TRIED)]
        if self._restored.height:
            ids = snapshot.endpoints.select(*_WORKLOAD, workload_ids(snapshot).alias("src_id")).unique("src_id")
            self._tried.append(self._restored.join(ids, on=_WORKLOAD).select(_TRIED.names()))
            self._restored = self._restored.clear()
        self._snapshot = snapshot

    def add(self, flows: pl.DataFrame) -> None:
        """Add flows attributed under the snapshot in use."""
        if self._snapshot is None:
            raise RuntimeError("use(snapshot) comes before add(flows)")
        starts = flows["start"].to_numpy()
        began = np.flatnonzero(flows["opened"].to_numpy())
        if began.size:
            self._newest.see(pl.Series(starts.take(began)))
        outcome = flows["outcome"].to_numpy()
        is_in_vain = np.logical_or.reduce([outcome == code for code in _IN_VAIN])
        if not is_in_vain.any():
            return
        rows = np.flatnonzero(is_in_vain & arrays.is_code(flows["role"], "canonical"))
        workloads = workload_ids(self._snapshot).to_numpy()
        tried = arrays.taken(flows, rows, *_KEY)
        tried.replace_column(0, pl.Series("src_id", workloads.take(tried["src_id"].to_numpy())))
        tried = tried.hstack([pl.Series("bucket", starts.take(rows) // BUCKET_NS)])
        if tried.height:
            self._tried.append(tried)
            if sum(frame.height for frame in self._tried) > 2 * self._most_rows:
                self._tried = [self._kept()]

    def kept(self) -> Mapping[str, Kept]:
        """This, and how far event time has come."""
        return {"newest": self._newest, "tried": self}

    def state(self) -> Frames:
        """The destinations of the window, by workload."""
        if self._snapshot is None:
            return {"tried": self._restored}
        kept = self._kept()
        self._tried = [kept]
        names = [pl.lit(self._snapshot.endpoints[name]).gather(pl.col("src_id")).alias(name) for name in _WORKLOAD]
        return {"tried": kept.select(*names, *_TRIED.names()[1:])}

    def restore(self, frames: Frames) -> int:
        """Take up a window. Workloads that the cluster has no more are left out."""
        if not fits(frames, tried=_NAMED):
            return rows_of(frames)
        self._restored = frames["tried"]
        return 0

    def samples(self) -> list[Samples]:
        """The destinations of each workload that has enough of them."""
        kept = self._kept()
        self._tried = [kept]
        counted = (
            kept.filter(pl.col("bucket") <= self._newest.ns // BUCKET_NS)
            .group_by("src_id")
            .agg(pl.len().cast(pl.UInt64).alias("destinations"))
            .filter(pl.col("destinations") >= LEAST_DESTINATIONS)
        )
        if counted.height and self._snapshot is not None:
            endpoints = self._snapshot.endpoints
            named = counted.with_columns(
                pl.lit(endpoints[label.removeprefix("source_")]).gather(pl.col("src_id")).alias(label)
                for label in self._metric.labels
            ).sort(self._metric.labels)
            labels, values = named.select(self._metric.labels), named["destinations"]
        else:
            labels, values = self._labels.clear(), counted["destinations"]
        if not labels.equals(self._labels):
            self._labels = labels
        return [Samples(self._metric, self._labels, values)]

    def _kept(self) -> pl.DataFrame:
        """Each destination in the window once, the newest ones where there are too many."""
        newest = self._newest.ns // BUCKET_NS
        return (
            pl.concat(self._tried)
            .filter(pl.col("bucket") > newest - BUCKETS, pl.col("bucket") <= newest + BUCKETS)
            .group_by(_KEY)
            .agg(pl.col("bucket").max())
            .sort("bucket", *_KEY, descending=True)
            .filter(pl.int_range(pl.len()).over("src_id") < self._most_destinations)
            .head(self._most_rows)
        )
