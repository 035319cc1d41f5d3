"""Interface counters of pods: the newest cumulative value of each, as the kernel keeps it.

Nothing is summed: a counter that starts anew with a new pod of the same name falls, and Prometheus reads that as the
reset that it is. The invariant: an older observation never replaces a newer one.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from ..catalog import BY_NAME, INTERFACE
from .samples import Samples

VALUES: Final = {
    metric: f"{direction}_{what}"
    for direction in ("receive", "transmit")
    for what in ("bytes", "packets", "errors", "packets_dropped")
    for metric in [f"container_network_{direction}_{what}_total"]
}
"""Metric name to the wire column that holds it."""


class InterfaceMetrics:
    """The newest counters of each (namespace, pod, interface, node).

    An interface that is not reported for `expire_s` is gone, and its series with it.
    """

    def __init__(self, expire_s: float = 300.0) -> None:
        self._expire_ns = int(expire_s * 1e9)
        self._labels = pl.DataFrame(schema=dict.fromkeys(INTERFACE, pl.String))
        self._rows = pl.DataFrame(
            schema={
                **dict.fromkeys(INTERFACE, pl.String),
                "time": pl.Int64,
                "arrival": pl.Int64,
                **dict.fromkeys(VALUES.values(), pl.UInt64),
            }
        )

    def __len__(self) -> int:
        return self._rows.height * len(VALUES)

    def add(self, counters: pl.DataFrame, now_ns: int) -> None:
        """Take in observations with the INTERFACE labels, `time` and the counters' columns, which came at `now_ns`."""
        arrived = counters.with_columns(arrival=pl.lit(now_ns, pl.Int64)).select(self._rows.columns)
        rows = (
            pl.concat([self._rows, arrived])
            .sort(*INTERFACE, "time", maintain_order=True)
            .unique(INTERFACE, keep="last", maintain_order=True)
        )
        self._keep(rows)

    def expire(self, now_ns: int) -> None:
        """Drop interfaces that were not reported for long."""
        self._keep(self._rows.filter(pl.col("arrival") > now_ns - self._expire_ns))

    def samples(self) -> list[Samples]:
        """The eight `container_network_*` metrics."""
        return [Samples(BY_NAME[metric], self._labels, self._rows[column]) for metric, column in VALUES.items()]

    def _keep(self, rows: pl.DataFrame) -> None:
        self._rows = rows
        labels = rows.select(INTERFACE)
        if not labels.equals(self._labels):
            self._labels = labels
