"""Flows as arrays, a block at a time: what is made of a block on the way stays in the processor's cache.

In arrays of numbers and ids -1 stands for none, and tables that are taken from have what none means at their end. The
invariant: nothing here is written to, for it is the frame's own memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from . import arrays
from .arrays import Mask, Rows
from .lookups import Ids

ROWS: Final = 1 << 15


@dataclass(frozen=True, slots=True)
class Address:
    """The halves of an address by row."""

    hi: NDArray[np.uint64]
    lo: NDArray[np.uint64]

    def of(self, rows: Rows) -> Address:
        """Those of some rows."""
        return Address(self.hi.take(rows), self.lo.take(rows))

    def differs(self, other: Address) -> Mask:
        """Where the two are not the same."""
        found: Mask = self.lo != other.lo
        found |= self.hi != other.hi
        return found


@dataclass(frozen=True, slots=True)
class Block:
    """The columns of `collector.schema.FLOWS` that tell what a flow means."""

    start: NDArray[np.int64]
    here: Ids
    """The number of the observing Node."""
    protocol: NDArray[np.uint8]
    dst_port: NDArray[np.uint16]
    backend_port: NDArray[np.uint16]
    src: Address
    dst: Address
    backend: Address
    nat_src: Address
    is_redirected: Mask
    """Whether the packets went to another address than the one dialled."""

    def __len__(self) -> int:
        return len(self.start)


def blocks_of(flows: pl.DataFrame, here: Ids) -> Iterator[Block]:
    """The flows in order; one block without rows where there are none. `here` is by row."""

    def column(name: str) -> NDArray[Any]:
        return arrays.numbers(flows[name])

    starts, protocols, dst_ports, backend_ports = map(column, ("start", "protocol", "dst_port", "backend_port"))
    sides = [(column(f"{side}_hi"), column(f"{side}_lo")) for side in ("src", "dst", "backend", "nat_src")]
    for first in range(0, max(flows.height, 1), ROWS):
        rows = slice(first, first + ROWS)
        src, dst, backend, nat_src = (Address(hi[rows], lo[rows]) for hi, lo in sides)
        yield Block(
            starts[rows],
            here[rows],
            protocols[rows],
            dst_ports[rows],
            backend_ports[rows],
            src,
            dst,
            backend,
            nat_src,
            backend.differs(dst),
        )
