"""What connections carry, told on all of their rows: a bounded memory of heads.

A collector tells a head on the one row that it shipped after it saw it; the rows that follow are of the same
connection. The invariant: a row has its own head, else the newest that came on an earlier row of its connection, and
`app_protocol` stays on the row that told it, so that heads can still be counted.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..inventory.snapshot import Snapshot
from ..kept import Frames, rows_of
from .dnsnames import GIVEN
from .keyindex import numbers_of

MAX_CONNECTIONS: Final = 100_000
"""Connections whose heads are remembered, some 10 MB; those whose head came first are forgotten first."""

NAMES: Final = ("server_name", "method", "path")
_CONNECTION: Final = ("node", "flow_id")
_PLACE_BITS: Final = 20
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)
"""An odd number near the golden ratio of 2**64: the high bits of multiples tell ids apart that differ little."""
_ADDRESS: Final = r"^[0-9.]+$|:"
"""What is no name: a host that was asked for by its address."""
_EXTERNAL: Final = "External"


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
        columns = [pl.int_range(pl.len(), dtype=pl.Int64).alias("told_row"), *_CONNECTION, *NAMES, "closed"]
        told = flows.lazy().select(columns).filter(is_head).collect()
        if self._known is not None:
            before = pl.Series("told_row", np.arange(-len(self), 0))  # in the order in which they came
            known = self._known.with_columns(before, pl.lit(0, pl.UInt8).alias("closed"))
            told = pl.concat([known.select(told.columns), told], rechunk=True)
        filled = _filled(flows, told)
        self._remember(told, flows)
        return filled

    def _remember(self, told: pl.DataFrame, flows: pl.DataFrame) -> None:
        """Keep the heads of connections that none of the flows closes; names are gathered once, when that is known."""
        ids = told.select(*_CONNECTION)
        is_open = (told["closed"] == 0).to_numpy().copy()
        closed = flows.lazy().select(*_CONNECTION, "closed").filter(pl.col("closed") == 1).collect()
        suspects = ids.with_row_index("row").filter(is_open & _may_be_among(ids["flow_id"], closed["flow_id"]))
        closed = closed.filter(_may_be_among(closed["flow_id"], suspects["flow_id"]))
        is_open[suspects.join(closed, on=_CONNECTION, how="semi")["row"].to_numpy()] = False
        rows = np.flatnonzero(is_open)
        if len(rows) > self._max_connections:
            kept = ids[rows]
            if kept["flow_id"].n_unique() < len(rows):
                newest = kept.with_row_index("row").unique(_CONNECTION, keep="last", maintain_order=True)
                rows = rows[newest["row"].to_numpy()]
            rows = rows[-self._max_connections :]
        self._known = told.select(*_CONNECTION, *NAMES)[rows]


def _filled(flows: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
    may_be_told = pl.Series(_may_be_among(flows["flow_id"], told["flow_id"]))
    is_asking = (pl.col("opened") == 0) & (pl.col("server_name") == "") & may_be_told
    columns = flows.lazy().select(*_CONNECTION, "opened", "server_name").with_row_index("row")
    asking = columns.filter(is_asking).select("row", *_CONNECTION).collect()
    answers = (
        asking.lazy()
        .join(told.filter(_may_be_among(told["flow_id"], asking["flow_id"])).lazy(), on=_CONNECTION)
        .filter(pl.col("told_row") < pl.col("row").cast(pl.Int64))
        .sort("told_row")
        .unique("row", keep="last", maintain_order=True)
        .select("row", *NAMES)
        .collect()
    )
    if answers.is_empty():
        return flows
    numbers = np.full(flows.height, -1, np.int32)
    numbers[answers["row"].to_numpy()] = np.arange(answers.height)
    told_by = numbers_of(numbers)
    return flows.with_columns(pl.coalesce(answers[name].gather(told_by), name).alias(name) for name in NAMES)


def _may_be_among(flow_ids: pl.Series, others: pl.Series) -> NDArray[np.bool_]:
    """By row, whether the id may be among the others: most that are not are told, and none that is.

    A join of all rows with all heads would cost more than everything else that a flow goes through.
    """
    is_there = np.zeros(1 << _PLACE_BITS, np.bool_)
    is_there[_places(others)] = True
    return is_there.take(_places(flow_ids))


def _places(flow_ids: pl.Series) -> NDArray[np.int64]:
    spread = flow_ids.to_numpy() * _SPREAD
    spread >>= np.uint64(64 - _PLACE_BITS)
    return spread.view(np.int64)


def with_said_names(flows: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame:
    """Flows attributed under `snapshot` that have what `DnsNames.join` adds, and where that knows no name the one that
    the client itself asked the outside for.

    It is the client's word alone: whoever answered may be someone else.
    """
    is_beyond = snapshot.endpoints["kind"] == _EXTERNAL
    is_asking = flows["dns_name"].is_null() & (flows["server_name"] != "") & is_beyond.gather(flows["dst_id"])
    rows = is_asking.arg_true()
    asked = flows["server_name"].gather(rows)
    is_name = ~asked.str.contains(_ADDRESS)
    if not is_name.any():
        return flows
    numbers = np.full(flows.height, -1, np.int32)
    numbers[rows.to_numpy()] = np.where(is_name.to_numpy(), np.arange(len(rows)), -1)
    said = asked.gather(numbers_of(numbers))
    return flows.with_columns(
        dns_name=pl.coalesce(said, "dns_name"),
        dns_given=pl.when(said.is_not_null()).then(pl.lit("sni", GIVEN)).otherwise("dns_given"),
    )
