"""Addresses and ports by class: two of one class lie in the same ranges of every policy, so that one stands for all.

The ends of all ranges cut the line of addresses (and the line of protocol and port) into pieces; a class is a piece.
The invariant: IPv4 and IPv6 never share a range, though both are on one line.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ...inventory.addresses import of
from ...inventory.parts import Network
from ...inventory.steps import Steps, halves
from .terms import Addresses, Ports

Classes = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_V4_FIRST: Final = 0xFFFF << 32
_V4_END: Final = _V4_FIRST + (1 << 32)
_LINE_END: Final = 1 << 128


class AddressClasses:
    """The line of addresses, cut where a range begins or ends."""

    def __init__(self, ranges: Iterable[Addresses]) -> None:
        ranges = list(ranges)
        cuts = {_V4_FIRST, _V4_END} if ranges else set()
        for term in ranges:
            for network in (term.network, *term.excluded):
                cuts.update(_ends(network))
        self._cuts = Steps([cut for cut in sorted(cuts) if cut < _LINE_END])
        self.count = len(self._cuts) + 1
        self._v4 = self._between(_V4_FIRST, _V4_END)

    def of(self, hi: npt.NDArray[np.uint64], lo: npt.NDArray[np.uint64]) -> Classes:
        """The classes of addresses, given by halves."""
        if self.count == 1:
            return np.zeros(lo.size, dtype=np.int64)
        return self._cuts.up_to(hi, lo)

    def within(self, term: Addresses) -> Mask:
        """By class: whether its addresses are in the range and in none of the parts cut out."""
        mask = self._between(*_ends(term.network))
        for network in term.excluded:
            mask &= ~self._between(*_ends(network))
        mask &= self._v4 if term.network.version == 4 else ~self._v4
        return mask

    def _between(self, first: int, end: int) -> Mask:
        places = self._cuts.up_to(*halves([first, end - 1]))
        mask = np.zeros(self.count, dtype=np.bool_)
        mask[places[0] : places[1] + 1] = True
        return mask


class PortClasses:
    """The line of protocols and ports, cut where a range begins or ends."""

    def __init__(self, ranges: Iterable[Ports]) -> None:
        cuts = {end for term in ranges for end in _port_ends(term)}
        self._cuts = np.array(sorted(cuts), dtype=np.uint32)
        self.count = self._cuts.size + 1

    def of(self, points: npt.NDArray[np.uint32]) -> Classes:
        """The classes of points, as `point` makes them."""
        return np.searchsorted(self._cuts, points, side="right")

    def within(self, term: Ports) -> Mask:
        """By class: whether its ports are in the range."""
        first, end = _port_ends(term)
        places = self.of(np.array([first, end - 1], dtype=np.uint32))
        mask = np.zeros(self.count, dtype=np.bool_)
        mask[places[0] : places[1] + 1] = True
        return mask

    def firsts(self) -> npt.NDArray[np.uint32]:
        """By class: its first point."""
        return np.concatenate([np.zeros(1, dtype=np.uint32), self._cuts])


def point(protocol: Any, port: Any) -> Any:
    """A protocol and a port as one number below 2^24; of numbers or of arrays."""
    return (protocol << 16) | port


def _port_ends(term: Ports) -> tuple[int, int]:
    return point(term.protocol, term.first), point(term.protocol, term.last) + 1


def _ends(network: Network) -> tuple[int, int]:
    """The first address of a network and the first behind it, on the line of both families."""
    first = of(network.network_address)
    number = (first.hi << 64) | first.lo
    return number, number + network.num_addresses
