"""How evenly the connections to a Service spread over its endpoints, over the last five minutes of event time.

Compared are the endpoints that were ready through the whole window, those that got nothing among them, of the address
family that most clients dial. The invariant: what is counted depends on which connections began in the window and not
on the order in which they came.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from ..attribution.keyindex import distinct
from ..catalog import BY_NAME, SERVICE
from ..inventory.addresses import is_v4
from ..inventory.snapshot import Snapshot
from ..kept import Frames, fits, rows_of
from .event_time import Newest
from .idwords import joined
from .samples import Samples
from .service_ports import ServicePorts

BUCKET_NS: Final = 30 * 10**9
BUCKETS: Final = 10
"""The window is so many buckets, the newest one among them."""
LEAST_CONNECTIONS: Final = 10
"""With fewer in the window, chance would be told as skew."""

_KEY: Final = ("number", "addr_hi", "addr_lo", "bucket")
_COUNTS: Final = pl.Schema(
    {"number": pl.UInt32, "addr_hi": pl.UInt64, "addr_lo": pl.UInt64, "bucket": pl.Int64, "opened": pl.UInt64}
)


def calls_of(dialled: pl.DataFrame) -> pl.DataFrame:
    """Connections to Services, counted (`opened`) by `number` of the Service port, address that answered and bucket.

    `dialled` has a row at least, with the columns `number`, `start`, `backend_hi` and `backend_lo`.
    """
    buckets = dialled["start"].to_numpy() // BUCKET_NS
    halves = [dialled[f"backend_{half}"].to_numpy() for half in ("lo", "hi")]
    told = [buckets - buckets.min(), dialled["number"].to_numpy(), *(half for half in halves if half.any())]
    numbers, first = distinct(joined(told))
    return pl.DataFrame(
        {
            "number": dialled["number"].to_numpy().take(first),
            "addr_hi": halves[1].take(first),
            "addr_lo": halves[0].take(first),
            "bucket": buckets.take(first),
            "opened": np.bincount(numbers, minlength=first.size).astype(np.uint64),
        },
        schema=_COUNTS,
    )


class Skew:
    """Connections by endpoint in the window; rows are bounded by endpoints times buckets."""

    def __init__(self, ports: ServicePorts, newest: Newest) -> None:
        self._metrics = tuple(BY_NAME[f"flowatlas_service_endpoint_{what}_ratio"] for what in ("skew", "gini"))
        self._ports = ports
        self._newest = newest
        self._counts = [pl.DataFrame(schema=_COUNTS)]
        """Those of the window as they were last put together, and what came since."""
        self._until = -1
        """The bucket that was the newest one then."""
        self._labels = pl.DataFrame(schema=dict.fromkeys(SERVICE, pl.String))
        self._snapshot: Snapshot | None = None

    def use(self, snapshot: Snapshot) -> None:
        """Take the endpoints of `snapshot` from now on."""
        self._snapshot = snapshot

    def add(self, calls: pl.DataFrame) -> None:
        """Take in rows of `calls_of`."""
        self._counts.append(calls)

    def numbers(self) -> pl.Series:
        """The Service ports under which anything is kept."""
        return self._kept()["number"]

    def renumber(self, numbers: pl.Series) -> None:
        """Service ports have new numbers: `numbers` has them by those of before."""
        counts = self._kept()
        self._counts = [counts.with_columns(numbers[counts["number"]])]

    def state(self) -> Frames:
        """The connections of the window."""
        return {"counts": self._kept()}

    def restore(self, frames: Frames) -> int:
        """Take up a window; the numbers of Service ports are restored before it."""
        if not fits(frames, counts=_COUNTS):
            return rows_of(frames)
        self._counts, self._until = [frames["counts"]], -1
        return 0

    def samples(self) -> list[Samples]:
        """Both ratios, of Service ports with enough connections to two endpoints or more."""
        window = self._window()
        is_known = window.height > 0 and self._snapshot is not None  # not before a restart knows the cluster
        ratios = self._ratios(window) if is_known else pl.DataFrame(schema={"number": pl.UInt32})
        if ratios.is_empty():
            labels = self._labels.clear()
            ratios = pl.DataFrame(schema={"skew": pl.Float64, "gini": pl.Float64})
        else:
            named = ratios.with_columns(
                pl.lit(self._ports.labels[label]).gather(pl.col("number")).alias(label) for label in SERVICE
            ).sort(SERVICE)
            labels, ratios = named.select(SERVICE), named.select("skew", "gini")
        if not labels.equals(self._labels):
            self._labels = labels
        return [
            Samples(metric, self._labels, ratios[what])
            for metric, what in zip(self._metrics, ("skew", "gini"), strict=True)
        ]

    def _window(self) -> pl.DataFrame:
        """Connections by number and address in the window."""
        newest = self._newest.ns // BUCKET_NS
        return self._kept().filter(pl.col("bucket") <= newest).group_by(_KEY[:3]).agg(pl.col("opened").sum())

    def _kept(self) -> pl.DataFrame:
        """The same by bucket; older ones are forgotten."""
        newest = self._newest.ns // BUCKET_NS
        if len(self._counts) > 1 or newest != self._until:
            kept = (
                pl.concat(self._counts)
                .filter(pl.col("bucket") > newest - BUCKETS, pl.col("bucket") <= newest + BUCKETS)
                .group_by(_KEY)
                .agg(pl.col("opened").sum())
            )
            self._counts, self._until = [kept], newest
        return self._counts[0]

    def _ratios(self, window: pl.DataFrame) -> pl.DataFrame:
        """number, skew and gini."""
        newest = self._newest.ns // BUCKET_NS
        begin, end = (newest - BUCKETS + 1) * BUCKET_NS, (newest + 1) * BUCKET_NS
        assert self._snapshot is not None  # noqa: S101 - there is no window before the first snapshot
        is_steady = pl.col("is_ready") & (pl.col("since") <= begin) & (pl.col("until") >= end)
        steady = (
            self._snapshot.backends.filter(is_steady)
            .select(self._ports.number(), "addr_hi", "addr_lo")
            .unique()
            .join(window, on=("number", "addr_hi", "addr_lo"), how="left")
            .with_columns(pl.col("opened").fill_null(0), is_v4=is_v4(pl.col("addr_hi"), pl.col("addr_lo")))
        )
        rank, count, total = pl.col("opened").rank("ordinal"), pl.len(), pl.col("opened").sum()
        by_family = (
            steady.group_by("number", "is_v4")
            .agg(
                total=total,
                endpoints=count,
                skew=pl.col("opened").max() * count / total,
                gini=((2 * rank.cast(pl.Int64) - count.cast(pl.Int64) - 1) * pl.col("opened").cast(pl.Int64)).sum()
                / (count * total),
            )
            .filter(pl.col("endpoints") > 1, pl.col("total") >= LEAST_CONNECTIONS)
        )
        return by_family.sort("number", "total", "is_v4").unique("number", keep="last", maintain_order=True)
