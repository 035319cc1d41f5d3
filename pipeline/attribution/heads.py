"""What connections carry, told on all of their rows: a bounded memory of heads.

A collector tells a head on the one row that it shipped after it saw it; the rows that follow are of the same
connection. The invariant: a row has its own head, else the newest that came on an earlier row of its connection, and
`app_protocol` stays on the row that told it, so that heads can still be counted.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from ..kept import Frames, rows_of

MAX_CONNECTIONS: Final = 100_000
"""Connections whose heads are remembered, some 10 MB; those whose head came first are forgotten first."""

NAMES: Final = ("server_name", "method", "path")
_CONNECTION: Final = ("node", "flow_id")
_BEFORE: Final = -1
"""The row of what was known before the batch."""


class Heads:
    """The heads of connections that are open, in columns: one row a connection, the newest last."""

    def __init__(self, max_connections: int = MAX_CONNECTIONS) -> None:
        self._max_connections = max_connections
        self._known: pl.DataFrame | None = None

    def __len__(self) -> int:
        return 0 if self._known is None else self._known.height

    def state(self) -> Frames:
        """The heads that are known."""
        return {} if self._known is None else {"known": self._known}

    def restore(self, frames: Frames) -> int:
        """Take up heads."""
        known = frames.get("known")
        if known is None or known.columns != [*_CONNECTION, *NAMES]:
            return rows_of(frames)
        self._known = known
        return 0

    def fill(self, flows: pl.DataFrame) -> pl.DataFrame:
        """Rows of `collector.schema.FLOWS` with `node`, in the order in which they came, with NAMES on every row of a
        connection from its head on; heads are remembered until the connection closes."""
        is_head = (flows["app_protocol"] != 0) & (flows["server_name"] != "")
        if not len(self) and not is_head.any():
            return flows
        columns = [pl.int_range(pl.len(), dtype=pl.Int64).alias("told_row"), *_CONNECTION, *NAMES]
        told = flows.lazy().select(columns).filter(is_head).collect()
        if self._known is not None:
            told = pl.concat([self._known.with_columns(told_row=pl.lit(_BEFORE, pl.Int64)).select(told.columns), told])
        filled = _filled(flows, told)
        self._remember(told, flows)
        return filled

    def _remember(self, told: pl.DataFrame, flows: pl.DataFrame) -> None:
        closed = flows.lazy().filter(pl.col("closed") == 1).select(_CONNECTION)
        self._known = (
            told.lazy()
            .select(*_CONNECTION, *NAMES)
            .unique(_CONNECTION, keep="last", maintain_order=True)
            .join(closed, on=_CONNECTION, how="anti", maintain_order="left")
            .tail(self._max_connections)
            .collect()
        )


def _filled(flows: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
    is_asking = (pl.col("opened") == 0) & (pl.col("server_name") == "")
    rows = flows.lazy().select(*_CONNECTION, "opened", "server_name").with_row_index("row")
    answers = (
        rows.filter(is_asking)
        .select("row", *_CONNECTION)
        .join(told.lazy(), on=_CONNECTION)
        .filter(pl.col("told_row") < pl.col("row").cast(pl.Int64))
        .sort("told_row")
        .unique("row", keep="last", maintain_order=True)
        .select("row", *(pl.col(name).alias(f"{name}_told") for name in NAMES))
        .collect()
    )
    if answers.is_empty():
        return flows
    return (
        flows.lazy()
        .with_row_index("row")
        .join(answers.lazy(), on="row", how="left", maintain_order="left")
        .with_columns(pl.coalesce(f"{name}_told", name).alias(name) for name in NAMES)
        .select(flows.columns)
        .collect()
    )
