"""TCP sockets of pods by state, as they were when each pod was heard of last.

The invariant: a state that a pod has had sockets in stays shown, at 0 where it has none, until the pod is gone.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import polars as pl

from collector.schema import SOCKET_COLUMNS

from ..catalog import BY_NAME
from ..kept import Frames, fits, rows_of
from .samples import Samples

_POD: Final = ("namespace", "pod", "node")
_LONG: Final = pl.Schema(
    {**dict.fromkeys((*_POD, "column"), pl.String()), "time": pl.Int64(), "arrival": pl.Int64(), "sockets": pl.UInt64()}
)


class SocketMetrics:
    """The newest counts of each pod and state. A pod that is not reported for `expire_s` is gone."""

    def __init__(self, expire_s: float = 300.0) -> None:
        self._expire_ns = int(expire_s * 1e9)
        self._counts = pl.DataFrame(schema=_LONG)

    def add(self, counters: pl.DataFrame, now_ns: int) -> None:
        """Take in COUNTERS of pods' interfaces with `namespace`, `pod` and `node` as String, which came at `now_ns`."""
        pods = (
            counters.lazy()
            .group_by(*_POD, "time")
            .agg(pl.col(SOCKET_COLUMNS).cast(pl.UInt64).max())  # it is on one of a pod's rows
            .unpivot(index=[*_POD, "time"], variable_name="column", value_name="sockets")
            .with_columns(arrival=pl.lit(now_ns, pl.Int64))
            .select(_LONG.names())
            .collect()
        )
        key = [*_POD, "column"]
        is_shown = pl.col("sockets") > 0
        known = self._counts.select(key).with_columns(known=True)
        arrived = pods.join(known, on=key, how="left").filter(is_shown.any().over(key) | pl.col("known"))
        self._counts = (
            pl.concat([self._counts, arrived.select(_LONG.names())])
            .sort(*key, "time", maintain_order=True)
            .unique(key, keep="last", maintain_order=True)
        )

    def expire(self, now_ns: int) -> None:
        """Drop pods that were not reported for long."""
        self._counts = self._counts.filter(pl.col("arrival") > now_ns - self._expire_ns)

    def keep_nodes(self, nodes: Collection[str]) -> None:
        """Drop pods of other nodes: somebody else is told of them."""
        self._counts = self._counts.filter(pl.col("node").is_in(list(nodes)))

    def state(self) -> Frames:
        """The newest counts."""
        return {"counts": self._counts}

    def restore(self, frames: Frames) -> int:
        """Take up counts."""
        if not fits(frames, counts=_LONG):
            return rows_of(frames)
        self._counts = frames["counts"]
        return 0

    def samples(self) -> list[Samples]:
        """The sockets of both families."""
        split = self._counts.with_columns(
            pl.col("column").str.split_exact("_", 1).struct.rename_fields(["family", "tcp_state"])
        ).unnest("column")
        made = []
        for family in ("tcp", "tcp6"):
            metric = BY_NAME[f"container_network_{family}_usage_total"]
            rows = split.filter(pl.col("family") == family)
            made.append(Samples(metric, rows.select(metric.labels), rows["sockets"]))
        return made
