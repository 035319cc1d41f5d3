"""How many destinations each workload tried in vain, over the last ten minutes of event time: what a scan raises.

A destination is an address, port and protocol as dialled; tried in vain is what was refused or never answered. It is
remembered as 64 bits of them: two of 10,000 destinations are taken for one with a chance below 1 in 10^11.

The invariant: a destination counts once however often it is tried, and what is kept is bounded whatever is tried:
beyond MOST_DESTINATIONS of a workload and MOST_ROWS of all the oldest are forgotten, so that the figure is a lower
bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from collector.schema import OUTCOMES

from ..attribution import arrays
from ..attribution.keyindex import distinct
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
"""20 bytes each."""
MOST_WAITING: Final = 50_000
"""So many tries wait, or as many as there are destinations, until those that came again or are too many go."""

_IN_VAIN: Final = tuple(OUTCOMES.index(outcome) for outcome in ("refused", "no_reply"))
_MULTIPLIERS: Final = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))
_TRIED: Final = pl.Schema({"src_id": pl.UInt32, "destination": pl.UInt64, "bucket": pl.Int64})
_WORKLOAD: Final = ("namespace", "workload", "workload_kind")
_NAMED: Final = pl.Schema({**dict.fromkeys(_WORKLOAD, pl.String()), "destination": pl.UInt64(), "bucket": pl.Int64()})
_SPELLED: Final = pl.Schema(
    {
        **dict.fromkeys(_WORKLOAD, pl.String()),
        "dst_hi": pl.UInt64(),
        "dst_lo": pl.UInt64(),
        "dst_port": pl.UInt16(),
        "protocol": pl.UInt8(),
        "bucket": pl.Int64(),
    }
)
"""As older snapshots have it."""


class Scans:
    """The destinations tried in vain, with the bucket of the newest try of each."""

    def __init__(self, most_destinations: int = MOST_DESTINATIONS, most_rows: int = MOST_ROWS) -> None:
        self._metric = BY_NAME["flowatlas_workload_failed_destinations"]
        self._most_destinations = most_destinations
        self._most_rows = most_rows
        self._newest = Newest()
        self._tried = pl.DataFrame(schema=_TRIED)
        """Each destination once."""
        self._until = -1
        """The bucket that was the newest one when they were last looked through."""
        self._waiting: list[pl.DataFrame] = []
        """Tries since then."""
        self._waiting_rows = 0
        self._labels = pl.DataFrame(schema=dict.fromkeys(self._metric.labels, pl.String))
        self._restored = pl.DataFrame(schema=_NAMED)
        """What came from a snapshot, until ids are known again."""
        self._snapshot: Snapshot | None = None

    def use(self, snapshot: Snapshot) -> None:
        """Take ids to be those of `snapshot` from now on; where they mean something else, the window begins anew."""
        if self._snapshot is None or snapshot.numbering is not self._snapshot.numbering:
            self._tried = pl.DataFrame(schema=_TRIED)
            self._waiting, self._waiting_rows = [], 0
        if self._restored.height:
            ids = snapshot.endpoints.select(*_WORKLOAD, workload_ids(snapshot).alias("src_id")).unique("src_id")
            self._wait(self._restored.join(ids, on=_WORKLOAD).select(_TRIED.names()))
            self._restored = self._restored.clear()
        self._snapshot = snapshot

    def add(self, flows: pl.DataFrame) -> None:
        """Add flows attributed under the snapshot in use."""
        if self._snapshot is None:
            raise RuntimeError("use(snapshot) comes before add(flows)")
        starts = flows["start"].to_numpy()
        began = np.flatnonzero(flows["opened"].to_numpy() != 0)
        if began.size:
            self._newest.see(pl.Series(starts.take(began)))
        outcomes = flows["outcome"].to_numpy()
        rows = np.flatnonzero(outcomes >= min(_IN_VAIN))
        codes = outcomes.take(rows)
        is_in_vain = np.logical_or.reduce([codes == code for code in _IN_VAIN])
        rows = rows[is_in_vain & arrays.is_code(flows["role"], "canonical").take(rows)]
        if rows.size:
            workloads = workload_ids(self._snapshot).to_numpy()
            tried = {
                "src_id": workloads.take(flows["src_id"].to_numpy().take(rows)),
                "destination": _destinations(flows, rows),
                "bucket": starts.take(rows) // BUCKET_NS,
            }
            self._wait(pl.DataFrame(tried, schema=_TRIED))

    def kept(self) -> Mapping[str, Kept]:
        """This, and how far event time has come."""
        return {"newest": self._newest, "tried": self}

    def state(self) -> Frames:
        """The destinations of the window, by workload."""
        if self._snapshot is None:
            return {"tried": self._restored}
        kept = self._kept()
        names = [pl.lit(self._snapshot.endpoints[name]).gather(pl.col("src_id")).alias(name) for name in _WORKLOAD]
        return {"tried": kept.select(*names, *_TRIED.names()[1:])}

    def restore(self, frames: Frames) -> int:
        """Take up a window. Workloads that the cluster has no more are left out."""
        if fits(frames, tried=_SPELLED):
            spelled = frames["tried"]
            destinations = pl.Series("destination", _destinations(spelled, np.arange(spelled.height)), pl.UInt64)
            frames = {"tried": spelled.select(*_WORKLOAD, destinations, "bucket")}
        if not fits(frames, tried=_NAMED):
            return rows_of(frames)
        self._restored = frames["tried"]
        return 0

    def samples(self) -> list[Samples]:
        """The destinations of each workload that has enough of them."""
        counted = (
            self._kept()
            .filter(pl.col("bucket") <= self._newest.ns // BUCKET_NS)
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

    def _wait(self, tried: pl.DataFrame) -> None:
        self._waiting.append(tried)
        self._waiting_rows += tried.height
        if self._waiting_rows > max(MOST_WAITING, self._tried.height):  # to look at all costs as much as there is
            self._kept()

    def _kept(self) -> pl.DataFrame:
        """Each destination in the window once, the newest ones where there are too many."""
        newest = self._newest.ns // BUCKET_NS
        if not self._waiting and newest == self._until:
            return self._tried
        self._until = newest
        tried = pl.concat([self._tried, *self._waiting])
        self._waiting, self._waiting_rows = [], 0
        buckets = tried["bucket"].to_numpy()
        is_near = (buckets > newest - BUCKETS) & (buckets <= newest + BUCKETS)
        if not is_near.all():
            tried = tried.filter(pl.Series(is_near))
        numbers, first = distinct([tried["destination"].to_numpy(), tried["src_id"].to_numpy().astype(np.uint64)])
        last = np.full(first.size, np.iinfo(np.int64).min)
        np.maximum.at(last, numbers, tried["bucket"].to_numpy())
        once = arrays.taken(tried, first, "src_id", "destination").hstack([pl.Series("bucket", last)])
        self._tried = self._bounded(once)
        return self._tried

    def _bounded(self, once: pl.DataFrame) -> pl.DataFrame:
        """The newest destinations, as many as there may be."""
        tries = np.bincount(once["src_id"].to_numpy())
        if tries.max(initial=0) <= self._most_destinations and once.height <= self._most_rows:
            return once
        in_order = once.sort("bucket", "destination", descending=True)
        return in_order.filter(pl.int_range(pl.len()).over("src_id") < self._most_destinations).head(self._most_rows)


def _destinations(flows: pl.DataFrame, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """64 bits of the addresses, ports and protocols that were dialled, the same in every process."""
    ports = flows["dst_port"].to_numpy().take(rows).astype(np.uint64) << np.uint64(8)
    mixed: NDArray[np.uint64] = np.bitwise_or(ports, flows["protocol"].to_numpy().take(rows))
    for half in ("dst_hi", "dst_lo"):
        mixed ^= flows[half].to_numpy().take(rows)
        for multiplier in _MULTIPLIERS:
            mixed ^= mixed >> np.uint64(33)
            mixed *= multiplier
    mixed ^= mixed >> np.uint64(33)
    return mixed
