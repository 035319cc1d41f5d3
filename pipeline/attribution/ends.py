"""Which endpoint an address meant when a connection began, on the node that saw it.

A loopback address is the observing node's own, and so is NodeLocal DNSCache's. An address that nothing held then is
unknown where it is the cluster's own, by its ranges or since something of the cluster held it at another time, and
outside elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..inventory.addresses import node_locals
from ..inventory.endpoints import UNKNOWN
from . import arrays
from .arrays import Rows
from .blocks import Address, Block
from .lookups import Ids, Lookups


@dataclass(frozen=True, slots=True)
class End:
    """One side of flows, by row."""

    address: Ids
    """The number of the address."""
    held: Ids
    """The row of `lookups.holders`."""
    holder: Ids
    """The endpoint that held the address when the flow began."""


@dataclass(frozen=True, slots=True)
class Ends:
    """All sides of a block. Who masqueraded the source is asked of `unplaced` alone: few rows."""

    src: End
    dst: End
    backend: End
    src_place: Ids
    """The number of the Node that the end is, or is on; -1 where that has no collector."""
    backend_place: Ids
    """The number of the Node that the end is, or is on, with a collector or without."""
    unplaced: Rows
    """The rows whose source is on no node that has a collector."""
    nat_src: End
    """Of these rows."""


def here_of(nodes: pl.Series, lookups: Lookups) -> Ids:
    """By row the observing Node's number, of its name (Categorical); -1 where the cluster has none of the name.

    Rows of a batch are of one node and stand together, so it is asked once for each run of rows.
    """
    codes = arrays.numbers(nodes)
    if not len(codes):
        return np.zeros(0, np.int32)
    firsts = np.append(0, np.flatnonzero(codes[1:] != codes[:-1]) + 1)
    found = lookups.node_index.find([codes.take(firsts)])
    here: Ids = np.repeat(found, np.diff(firsts, append=len(codes)))
    return np.where(arrays.is_there(nodes), here, np.int32(-1)) if nodes.null_count() else here


def ends_of(block: Block, lookups: Lookups) -> Ends:
    """Who held the addresses of a block's flows when they began."""
    src, dst, backend = (
        _end(address, block.start, block.here, lookups) for address in (block.src, block.dst, block.backend)
    )
    src_place, backend_place = lookups.collected.take(src.holder), lookups.place.take(backend.holder)
    unplaced = np.flatnonzero(src_place < 0)
    nat_src = _end(block.nat_src.of(unplaced), block.start.take(unplaced), block.here.take(unplaced), lookups)
    return Ends(src, dst, backend, src_place, backend_place, unplaced, nat_src)


def endpoint_ids(end: End, address: Address, lookups: Lookups) -> Ids:
    """The side's holder, or the unknown, a named range or the outside where nothing held the address."""
    ids = end.holder.copy()
    rows = np.flatnonzero(ids < 0)
    if rows.size:
        nobodys = address.of(rows)
        is_ours = lookups.was_held.take(end.address.take(rows))
        is_ours |= lookups.ranges.up_to(nobodys.hi, nobodys.lo) % 2 == 1
        ids[rows] = np.where(is_ours, UNKNOWN, lookups.outside.id_of(nobodys.hi, nobodys.lo))
    return ids


def _end(address: Address, starts: NDArray[np.int64], here: Ids, lookups: Lookups) -> End:
    numbers = lookups.index.find([address.hi, address.lo])
    held = lookups.holders.rows_at(numbers, starts)
    holder = lookups.holder.take(held)
    own = node_locals(address.hi, address.lo)
    if own.size:
        holder[own] = lookups.node_id.take(here.take(own))
    return End(numbers, held, holder)
