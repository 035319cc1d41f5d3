"""Interface counters of pods and nodes: the newest cumulative value of each, as the kernel keeps it.

Nothing is summed: a counter that starts anew with a new pod of the same name falls, and Prometheus reads that as the
reset that it is. The invariant: an older observation never replaces a newer one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import polars as pl

from collector.schema import SCOPES

from ..catalog import BY_NAME, INTERFACE, NODE_INTERFACE
from ..kept import Frames, fits, rows_of
from .samples import Samples

COUNTERS: Final = tuple(
    f"{direction}_{what}"
    for direction in ("receive", "transmit")
    for what in ("bytes", "packets", "errors", "packets_dropped")
)
"""The wire columns."""
VALUES: Final = {f"container_network_{column}_total": column for column in COUNTERS}
"""Metric name to the wire column that holds it, of pods."""
NODE_VALUES: Final = {f"flowatlas_node_network_{column}_total": column for column in COUNTERS}
"""The same of nodes."""


class InterfaceMetrics:
    """The newest counters of each (namespace, pod, interface, node), or of what other `labels` name.

    An interface that is not reported for `expire_s` is gone, and its series with it.
    """

    def __init__(
        self,
        expire_s: float = 300.0,
        labels: tuple[str, ...] = INTERFACE,
        values: Mapping[str, str] = VALUES,
    ) -> None:
        self._names, self._values = labels, values
        self._expire_ns = int(expire_s * 1e9)
        self._labels = pl.DataFrame(schema=dict.fromkeys(labels, pl.String))
        self._rows = pl.DataFrame(
            schema={
                **dict.fromkeys(labels, pl.String),
                "time": pl.Int64,
                "arrival": pl.Int64,
                **dict.fromkeys(values.values(), pl.UInt64),
            }
        )

    def __len__(self) -> int:
        return self._rows.height * len(self._values)

    def add(self, counters: pl.DataFrame, now_ns: int) -> None:
        """Take in observations with the labels, `time` and the counters' columns, which came at `now_ns`."""
        arrived = counters.with_columns(arrival=pl.lit(now_ns, pl.Int64)).select(self._rows.columns)
        rows = (
            pl.concat([self._rows, arrived])
            .sort(*self._names, "time", maintain_order=True)
            .unique(self._names, keep="last", maintain_order=True)
        )
        self._keep(rows)

    def expire(self, now_ns: int) -> None:
        """Drop interfaces that were not reported for long."""
        self._keep(self._rows.filter(pl.col("arrival") > now_ns - self._expire_ns))

    def keep_nodes(self, nodes: Collection[str]) -> None:
        """Drop interfaces of other nodes: somebody else is told of them."""
        self._keep(self._rows.filter(pl.col("node").is_in(list(nodes))))

    def state(self) -> Frames:
        """The newest observations."""
        return {"rows": self._rows}

    def restore(self, frames: Frames) -> int:
        """Take up observations, where they have the columns of today."""
        if not fits(frames, rows=self._rows.schema):
            return rows_of(frames)
        self._keep(frames["rows"])
        return 0

    def samples(self) -> list[Samples]:
        """The eight metrics."""
        return [Samples(BY_NAME[metric], self._labels, self._rows[column]) for metric, column in self._values.items()]

    def _keep(self, rows: pl.DataFrame) -> None:
        self._rows = rows
        labels = rows.select(self._names)
        if not labels.equals(self._labels):
            self._labels = labels


def node_interface_metrics() -> InterfaceMetrics:
    """The newest counters of each (node, interface, scope)."""
    return InterfaceMetrics(labels=NODE_INTERFACE, values=NODE_VALUES)


def of_nodes(counters: pl.LazyFrame) -> pl.LazyFrame:
    """Readings of the nodes' own interfaces, with `node` and `scope` as the labels have them."""
    scope = pl.col("scope").replace_strict(dict(enumerate(SCOPES)), return_dtype=pl.String)
    return counters.with_columns(pl.col("node").cast(pl.String), scope=scope)
