"""Which rows are of the same connection as others: by the node that saw it and the number that the node gave it.

The invariant: most rows that are of none are told apart by a table of bits, and what is told in the end is exact.
A join of all rows with all others would cost more than everything else that a flow goes through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from . import arrays
from .arrays import Mask, Rows
from .keyindex import KeyIndex

_SPARSENESS: Final = 32
"""Bits of the table to a connection, where it is not too large for the processor's cache."""
_MIN_BITS: Final = 14
_MAX_BITS: Final = 20
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)
"""An odd number near the golden ratio of 2**64: the high bits of multiples tell ids apart that differ little."""


@dataclass(frozen=True, slots=True)
class Connections:
    """Connections by row."""

    nodes: NDArray[np.uint32]
    """The codes of the nodes' names."""
    ids: NDArray[np.uint64]
    spread: NDArray[np.uint64]
    """The ids, multiplied so that their high bits tell them apart."""

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, rows: Rows) -> Connections:
        """Those of some rows."""
        return Connections(self.nodes.take(rows), self.ids.take(rows), self.spread.take(rows))

    def followed_by(self, other: Connections) -> Connections:
        """These, and the others behind them."""
        nodes, ids = np.append(self.nodes, other.nodes), np.append(self.ids, other.ids)
        return Connections(nodes, ids, np.append(self.spread, other.spread))

    def newest(self) -> Rows:
        """The last row of each connection, ascending."""
        if pl.Series(self.ids).n_unique() == len(self):
            return np.arange(len(self))
        index = KeyIndex([self.nodes, self.ids])
        last = np.zeros(len(index), np.int64)
        last[index.numbers] = np.arange(len(self))  # of several writes the last one stays
        return np.sort(last)


def connections_of(flows: pl.DataFrame) -> Connections:
    """The connections of rows with `node` (Categorical) and `flow_id`."""
    ids = flows["flow_id"].to_numpy()
    return Connections(arrays.numbers(flows["node"]), ids, ids * _SPREAD)


def among(connections: Connections, is_asked: Mask, others: Connections) -> Rows:
    """The rows of the connections that are asked of and are among the others."""
    suspects = np.flatnonzero(_may_be_among(connections, others) & is_asked)
    if not suspects.size:
        return suspects
    suspected = connections.of(suspects)
    near = others.of(np.flatnonzero(_may_be_among(others, suspected)))
    return suspects[KeyIndex([near.nodes, near.ids]).find([suspected.nodes, suspected.ids]) >= 0]


def newest(told: Connections, is_told: Mask, order: Rows, asking: Connections, before: Rows) -> Rows:
    """By asking row, the row that is told last of its connection, of those whose place in the order is before its own;
    -1 where none is.

    Of equal places the later row is told last.
    """
    found = np.full(len(asking), -1)
    suspects = np.flatnonzero(_may_be_among(asking, told))
    if not suspects.size:
        return found
    suspected = asking.of(suspects)
    near = np.flatnonzero(_may_be_among(told, suspected) & is_told)
    if not near.size:
        return found
    index = KeyIndex([told.nodes.take(near), told.ids.take(near)])
    numbers = index.find([suspected.nodes, suspected.ids])
    suspects, numbers = suspects[numbers >= 0], numbers[numbers >= 0].astype(np.int64)
    if not suspects.size:
        return found
    width = int(max(order.max(), before.max())) + 1
    keys = index.numbers.astype(np.int64) * width + order.take(near)
    ordered = np.argsort(keys, kind="stable")
    at = np.searchsorted(keys.take(ordered), numbers * width + before.take(suspects)) - 1
    row = ordered.take(at)  # one of another connection where none is before, also the very last
    found[suspects] = np.where(index.numbers.take(row) == numbers, near.take(row), -1)
    found[suspects[at < 0]] = -1
    return found


def _may_be_among(connections: Connections, others: Connections) -> Mask:
    """By row, whether the connection may be among the others: most that are not are told, and none that is."""
    bits = min(max((_SPARSENESS * len(others)).bit_length(), _MIN_BITS), _MAX_BITS)
    is_there = np.zeros(1 << bits, np.bool_)
    is_there[_places(others, bits)] = True
    return is_there.take(_places(connections, bits))


def _places(connections: Connections, bits: int) -> NDArray[np.int64]:
    return (connections.spread >> np.uint64(64 - bits)).view(np.int64)
