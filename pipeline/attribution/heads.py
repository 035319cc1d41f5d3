"""What connections carry, told on all of their rows: a bounded memory of heads.

A collector tells a head on the one row that it shipped after it saw it; the rows that follow are of the same
connection. The invariant: a row has its own head, else the newest that came on an earlier row of its connection, and
`app_protocol` stays on the row that told it, so that heads can still be counted.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from ..inventory.snapshot import Snapshot
from ..kept import Frames, rows_of
from . import arrays
from .arrays import Rows
from .connections import Connections, among, connections_of, newest
from .lookups import lookups_of

MAX_CONNECTIONS: Final = 100_000
"""Connections whose heads are remembered, a quarter more between two clearings, some 10 to 30 MB; those whose head came
first are forgotten first."""

NAMES: Final = ("server_name", "method", "path")
_CONNECTION: Final = ("node", "flow_id")
_SPARSENESS: Final = 4
"""What is of no use may be one in so many before it is cleared away, and a copy must spare as much."""
_MAX_TOLD: Final = 3
"""Rows to a connection that may be remembered, of which most are then no heads."""
_MAX_CHUNKS: Final = 64
"""Polls whose rows are remembered apart before they are put together."""
_ADDRESS: Final = r"^[0-9.]+$|:"
"""What is no name: a host that was asked for by its address."""


class Heads:
    """The heads of connections that are open, in columns: one row a head, the newest last."""

    def __init__(self, max_connections: int = MAX_CONNECTIONS) -> None:
        self._max_connections = max_connections
        self._told = pl.DataFrame()
        """_CONNECTION and NAMES as they came, also of rows that are no head, or none any more."""
        self._rows = np.zeros(0, np.int64)
        """The rows of `_told` that are heads."""
        self._is_open = np.zeros(0, np.bool_)
        """Which of them count still; the others go when they are many."""
        self._known = connections_of(pl.DataFrame(schema={"node": pl.Categorical, "flow_id": pl.UInt64}))
        """Their connections."""

    def __len__(self) -> int:
        return int(np.count_nonzero(self._is_open))

    def state(self) -> Frames:
        """The heads that are known."""
        if not len(self):
            return {}
        self._keep(np.flatnonzero(self._is_open))
        self._tidy()
        return {"known": self._told}

    def restore(self, frames: Frames) -> int:
        """Take up heads."""
        known = frames.get("known")
        if known is None or known.columns != [*_CONNECTION, *NAMES]:
            return rows_of(frames)
        self._told, self._known = known, connections_of(known)
        self._rows, self._is_open = np.arange(known.height), np.ones(known.height, np.bool_)
        return 0

    def fill(self, flows: pl.DataFrame) -> pl.DataFrame:
        """Rows of `collector.schema.FLOWS` with `node`, in the order in which they came, with NAMES on every row of a
        connection from its head on; heads are remembered until the connection closes."""
        is_named = arrays.numbers(flows["server_name"].str.len_bytes()) != 0
        heads = np.flatnonzero(is_named & (flows["app_protocol"].to_numpy() != 0))
        if not len(self._rows) and not heads.size:
            return flows
        came = connections_of(flows)
        before = len(self._rows)
        self._add(flows, came, heads)
        asking = np.flatnonzero(~is_named & (flows["opened"].to_numpy() == 0))
        order = np.append(np.zeros(before, np.int64), heads + 1)  # those of before come first
        told_by = newest(self._known, self._is_open, order, came.of(asking), asking + 1)
        is_told = told_by >= 0
        filled = self._filled(flows, asking[is_told], self._rows.take(told_by[is_told]))
        self._close(before, heads, came, flows["closed"].to_numpy() == 1)
        return filled

    def _add(self, flows: pl.DataFrame, came: Connections, heads: Rows) -> None:
        """Remember rows of the flows. Where many are heads all are taken as they are, which copies none."""
        if not heads.size:
            return
        told = flows.select(*_CONNECTION, *NAMES)
        is_dense = _SPARSENESS * heads.size > flows.height
        rows = self._told.height + (heads if is_dense else np.arange(heads.size))
        parts = [self._told, told if is_dense else arrays.taken(told, heads, *told.columns)]
        self._told = pl.concat([part for part in parts if not part.is_empty()], rechunk=False)
        self._rows, self._known = np.append(self._rows, rows), self._known.followed_by(came.of(heads))
        self._is_open = np.append(self._is_open, np.ones(heads.size, np.bool_))

    def _close(self, before: int, heads: Rows, came: Connections, is_closed: arrays.Mask) -> None:
        """Forget the heads of what closed among the flows whose heads were added to those of before, and what is too
        much: of several heads of a connection all but the newest, and then the oldest."""
        self._is_open[before:] = ~is_closed.take(heads)
        self._is_open[among(self._known, self._is_open, came.of(np.flatnonzero(is_closed)))] = False
        size = len(self)
        if size > self._max_connections + self._max_connections // _SPARSENESS:
            kept = np.flatnonzero(self._is_open)
            self._keep(kept[self._known.of(kept).newest()][-self._max_connections :])
        elif _SPARSENESS * size < (_SPARSENESS - 1) * len(self._rows):
            self._keep(np.flatnonzero(self._is_open))
        if self._told.height > _MAX_TOLD * self._max_connections or self._told.n_chunks() > _MAX_CHUNKS:
            self._tidy()

    def _keep(self, kept: Rows) -> None:
        if len(kept) < len(self._rows):
            self._rows, self._known = self._rows.take(kept), self._known.of(kept)
            self._is_open = np.ones(len(kept), np.bool_)

    def _filled(self, flows: pl.DataFrame, rows: Rows, told_by: Rows) -> pl.DataFrame:
        """The flows with the names of some rows of `_told`."""
        if not rows.size:
            return flows
        names = arrays.taken(self._told, told_by, *NAMES)
        return flows.with_columns(flows[name].clone().scatter(rows, names[name]) for name in NAMES)

    def _tidy(self) -> None:
        """Forget the texts of what is no head any more."""
        if len(self._rows) < self._told.height or self._told.n_chunks() > 1:
            self._told = arrays.taken(self._told, self._rows, *self._told.columns)
            self._rows = np.arange(len(self._rows))


def with_said_names(flows: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame:
    """Flows attributed under `snapshot` that have what `DnsNames.join` adds, and where that knows no name the one that
    the client itself asked the outside for.

    It is the client's word alone: whoever answered may be someone else.
    """
    is_beyond = lookups_of(snapshot).is_external.gather(flows["dst_id"])
    is_asking = flows["dns_name"].is_null() & (flows["server_name"] != "") & is_beyond
    rows = is_asking.arg_true()
    asked = flows["server_name"].gather(rows)
    is_name = ~asked.str.contains(_ADDRESS)
    if not is_name.any():
        return flows
    rows, said = rows.filter(is_name), asked.filter(is_name)
    return flows.with_columns(
        flows["dns_name"].clone().scatter(rows, said), flows["dns_given"].clone().scatter(rows, "sni")
    )
