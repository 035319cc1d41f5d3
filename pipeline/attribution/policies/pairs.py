"""What policies are asked of connections: both ends and the port, in columns, and two numbers that decide the answer.

The two numbers say who the ends are to policies, in which ranges of addresses they lie, and the port. The invariant:
connections alike in both are answered alike, in both directions, by the policies that the numbers were made for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from .classes import AddressClasses, point
from .identities import Identities
from .terms import Direction

PAIR: Final = (
    "src_id",
    "dst_id",
    "src_hi",
    "src_lo",
    "backend_hi",
    "backend_lo",
    "backend_port",
    "protocol",
)
"""What makes two connections alike: columns as `flows.attribute` and `collector.schema.FLOWS` name them."""

Words = npt.NDArray[np.uint64]
"""Two numbers a row: an array of two columns."""
Mask = npt.NDArray[np.bool_]

NO_WORD: Final = np.uint64(2**64 - 1)
"""What the first of the two never is."""

_IDENTITY_BITS: Final = 24
_CLASS_BITS: Final = 15 + 39  # what is left of both words, for both classes together
_SOURCE: Final = np.uint64(64 - _IDENTITY_BITS)
_DESTINATION: Final = np.uint64(15)
_CLASSES: Final = np.uint64(25)
_CLASSES_OVER: Final = np.uint64(39)


@dataclass(frozen=True)
class Pairs:
    """Connections in the columns `PAIR`."""

    src_id: npt.NDArray[np.uint32]
    dst_id: npt.NDArray[np.uint32]
    src_hi: npt.NDArray[np.uint64]
    src_lo: npt.NDArray[np.uint64]
    backend_hi: npt.NDArray[np.uint64]
    backend_lo: npt.NDArray[np.uint64]
    backend_port: npt.NDArray[Any]
    protocol: npt.NDArray[Any]

    def __len__(self) -> int:
        return self.src_id.size

    def at(self, places: npt.NDArray[np.integer] | slice) -> Pairs:
        """Some of the connections."""
        return Pairs(*(column[places] for column in vars(self).values()))

    def points(self) -> npt.NDArray[np.uint32]:
        """Protocol and port of each, as `classes.point` joins them."""
        points: npt.NDArray[np.uint32] = point(self.protocol.astype(np.uint32), self.backend_port.astype(np.uint32))
        return points

    def to_themselves(self, is_pod: Mask) -> Mask:
        """What never leaves a pod: to its own address, or from and to one pod. `is_pod` is by endpoint id."""
        are_same: Mask = self.src_lo == self.backend_lo
        are_same &= self.src_hi == self.backend_hi
        own = np.flatnonzero(self.src_id == self.dst_id)
        if own.size:
            are_same[own] |= is_pod.take(self.src_id[own])
        return are_same


def pairs_of(frame: pl.DataFrame) -> Pairs:
    """The columns `PAIR` of a frame."""
    return Pairs(*(frame[name].to_numpy() for name in PAIR))


class Packing:
    """Makes the numbers for the endpoints of one snapshot. They mean something only to one numbering of identities."""

    def __init__(
        self,
        identities: Identities,
        is_service: Mask,
        addresses: Mapping[Direction, AddressClasses],
        *,
        is_silent: bool = False,
    ) -> None:
        """`is_service` is by endpoint id; `addresses` are the classes that each direction's peers are in. Where there
        is no policy all is answered alike, but for what is to a Service and what is to itself."""
        self._is_silent = is_silent
        self._is_service = is_service
        of_endpoint = identities.of_endpoint.astype(np.uint64)
        self._sources = of_endpoint << _SOURCE
        self._destinations = ((of_endpoint << np.uint64(1)) | is_service) << _DESTINATION
        self._is_pod = identities.is_pod.take(identities.of_endpoint)
        self._egress, self._ingress = addresses["egress"], addresses["ingress"]
        self._classes = self._egress.count * self._ingress.count
        if identities.is_pod.size >= 1 << _IDENTITY_BITS or self._classes > 1 << _CLASS_BITS:
            raise OverflowError("policies tell more apart than two numbers hold; their tables would fit no memory")

    def words(self, pairs: Pairs) -> Words:
        """Who the ends are, and whether the destination is a Service; classes of addresses, port, and whether it is to
        itself. Only where ranges are many hundred thousand have classes a part in the first word."""
        words = np.empty((len(pairs), 2), np.uint64)
        if self._is_silent:
            words[:, 0], words[:, 1] = self._is_service.take(pairs.dst_id), pairs.to_themselves(self._is_pod)
            return words
        np.bitwise_or(self._sources.take(pairs.src_id), self._destinations.take(pairs.dst_id), out=words[:, 0])
        rest = pairs.points().astype(np.uint64) << np.uint64(1)
        rest |= pairs.to_themselves(self._is_pod)
        if self._classes > 1:
            classes = self._egress.of(pairs.backend_hi, pairs.backend_lo).astype(np.uint64)
            classes *= np.uint64(self._ingress.count)
            classes += self._ingress.of(pairs.src_hi, pairs.src_lo).astype(np.uint64)
            if self._classes > 1 << int(_CLASSES_OVER):
                words[:, 0] |= classes >> _CLASSES_OVER
            rest |= classes << _CLASSES
        words[:, 1] = rest
        return words
