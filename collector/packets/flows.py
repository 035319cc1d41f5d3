"""One-way flows: packets and bytes summed by addresses, ports and protocol.

The invariant: sums are exact, packets and bytes in equal packets and bytes out. Flows keep the order in which their
first packets came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .frames import COLUMNS, Carriage, Headers

_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))


@dataclass(frozen=True, slots=True)
class Flows:
    """A row a one-way flow, in equal-length columns; addresses are halves as in `collector.schema`.

    `unsized` is how many of the packets leave their length out: their bytes are not in `bytes`.
    """

    src_hi: npt.NDArray[np.uint64]
    src_lo: npt.NDArray[np.uint64]
    dst_hi: npt.NDArray[np.uint64]
    dst_lo: npt.NDArray[np.uint64]
    src_port: npt.NDArray[np.uint16]
    dst_port: npt.NDArray[np.uint16]
    protocol: npt.NDArray[np.uint8]
    packets: npt.NDArray[np.uint64]
    bytes: npt.NDArray[np.uint64]
    unsized: npt.NDArray[np.uint64]
    tunnel: npt.NDArray[np.uint8]
    """`kinds.Tunnel` around them; the largest number where packets of one flow differ, as in the columns below."""
    vni: npt.NDArray[np.int64]
    opaque: npt.NDArray[np.uint8]
    """`kinds.Opaque` in them."""
    overhead: npt.NDArray[np.uint64]
    """Bytes of the headers around them, from the outermost IP header on."""

    def __len__(self) -> int:
        return len(self.packets)


KEY: Final = tuple(name for name in COLUMNS if name != "bytes")
SUMS: Final = ("packets", "bytes", "unsized", "overhead")
LARGEST: Final = {"tunnel": np.uint8, "vni": np.int64, "opaque": np.uint8}
_VALUES: Final = (*KEY, *SUMS, *LARGEST)


def none() -> Flows:
    """No flows at all."""
    dtypes: dict[str, Any] = {**dict.fromkeys(SUMS, np.uint64), **{name: COLUMNS[name] for name in KEY}, **LARGEST}
    return Flows(**{name: np.empty(0, dtypes[name]) for name in _VALUES})


def count(headers: Headers, carriage: Carriage | None = None) -> Flows:
    """The flows of one batch of packets, and how they are carried where that is given."""
    packets = len(headers.bytes)
    if carriage is None:
        blank = np.zeros(packets, np.uint8)
        carriage = Carriage(blank, np.full(packets, -1, np.int64), np.zeros(packets, np.uint64), blank)
    return _group(
        Flows(
            **{name: getattr(headers, name) for name in KEY},
            packets=np.ones(packets, np.uint64),
            bytes=headers.bytes,
            unsized=(headers.bytes == 0).astype(np.uint64),
            tunnel=carriage.tunnel,
            vni=carriage.vni,
            opaque=carriage.opaque,
            overhead=carriage.overhead,
        )
    )


def merge(parts: Sequence[Flows]) -> Flows:
    """The flows of several batches as one. `parts` holds at least one, which may be empty."""
    return _group(Flows(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in _VALUES}))


class Tally:
    """The flows of one batch after another, in memory that follows the number of flows, not of batches."""

    def __init__(self) -> None:
        self._parts = [none()]

    def add(self, part: Flows) -> None:
        """Take a later batch's flows; they are merged when more of them wait than were merged before."""
        self._parts.append(part)
        if sum(map(len, self._parts[1:])) > len(self._parts[0]):
            self._parts = [merge(self._parts)]

    def total(self) -> Flows:
        """The flows of all batches so far."""
        return merge(self._parts)


def _group(rows: Flows) -> Flows:
    if not len(rows):
        return rows
    order, is_first = _sorted_by_key(rows)
    heads = np.flatnonzero(is_first)
    first_row = np.minimum.reduceat(order, heads)
    by_appearance = np.argsort(first_row)
    keys = {name: getattr(rows, name)[first_row[by_appearance]] for name in KEY}
    sums = {name: np.add.reduceat(getattr(rows, name)[order], heads)[by_appearance] for name in SUMS}
    largest = {name: np.maximum.reduceat(getattr(rows, name)[order], heads)[by_appearance] for name in LARGEST}
    return Flows(**keys, **sums, **largest)


def _sorted_by_key(rows: Flows) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """An order that brings equal keys together, and which rows of it begin another key.

    Rows are sorted by a hash, which is one sort in place of five; where two keys share a hash, by the keys themselves.
    """
    src_port, dst_port, protocol = (part.astype(np.uint64) for part in (rows.src_port, rows.dst_port, rows.protocol))
    ends = src_port << np.uint64(24) | dst_port << np.uint64(8) | protocol
    words = (rows.src_hi, rows.src_lo, rows.dst_hi, rows.dst_lo, ends)
    digest = np.zeros(len(rows), np.uint64)
    for word in words:
        digest = (digest ^ word) * _MIX[0]
        digest = (digest ^ digest >> np.uint64(29)) * _MIX[1]
    order = np.argsort(digest)
    is_first = _changes(words, order)
    if not np.array_equal(is_first, _changes((digest,), order)):
        order = np.lexsort(words)
        is_first = _changes(words, order)
    return order, is_first


def _changes(words: Sequence[npt.NDArray[np.uint64]], order: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    changes = np.ones(len(order), np.bool_)
    changes[1:] = False
    for word in words:
        ordered = word[order]
        changes[1:] |= ordered[1:] != ordered[:-1]
    return changes
