"""What policies are asked of connections: both ends and the port, in columns, and two numbers that decide the answer.

The two numbers say what kinds of ends these are to policies, in which ranges of addresses and ports they lie. The
invariant: connections alike in both are answered alike, in both directions, by the policies they were made for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ...inventory.snapshot import Snapshot
from ..lookups import Hosts
from .classes import AddressClasses, Classes, point
from .identities import Identities
from .likeness import Likeness
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

_FEW: Final = 16
"""Among so many classes an address is found as fast as by whose it is."""
_KINDS: Final = 1 << 31
_CLASSES: Final = 1 << 61
"""More would fit no memory."""


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


@dataclass(frozen=True)
class Homes:
    """One address of each endpoint, by its id: the one that most of its connections have."""

    hi: npt.NDArray[np.uint64]
    lo: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, snapshot: Snapshot) -> Homes:
        """The address that each endpoint holds, or held; of several, any."""
        ids = snapshot.addresses["endpoint_id"].to_numpy()
        halves = np.zeros((2, max(snapshot.endpoints.height, int(ids.max(initial=0)) + 1)), np.uint64)
        halves[0, ids], halves[1, ids] = (snapshot.addresses[name].to_numpy() for name in ("addr_hi", "addr_lo"))
        return cls(*halves)


class _HomeClasses:
    """Classes of addresses of which it is known whose they are: a home is looked up by number, many ranges or few."""

    def __init__(self, classes: AddressClasses, homes: Homes) -> None:
        self.count = classes.count
        self._classes, self._homes = classes, homes
        self._of_home = classes.of(homes.hi, homes.lo)
        self._is_worth_it = classes.count > _FEW or bool(homes.hi.any())

    def of(self, ids: npt.NDArray[np.uint32], hi: npt.NDArray[np.uint64], lo: npt.NDArray[np.uint64]) -> Classes:
        """The classes of addresses, given by halves, of the endpoints `ids`."""
        if not self._is_worth_it:
            return self._classes.of(hi, lo)
        found = self._of_home.take(ids)
        is_away = self._homes.lo.take(ids) != lo
        is_away |= self._homes.hi.take(ids) != hi
        away = np.flatnonzero(is_away)
        if away.size:
            found[away] = self._classes.of(hi[away], lo[away])
        return found


class Packing:
    """Makes the numbers for the endpoints of one snapshot. They mean something only to one compilation of policies."""

    def __init__(
        self,
        identities: Identities,
        likeness: Likeness,
        is_service: Mask,
        addresses: Mapping[Direction, AddressClasses],
        homes: Homes,
        hosts: Hosts,
    ) -> None:
        """`is_service` is by endpoint id; `addresses` are the classes that each direction's peers are in."""
        sources, destinations = (
            kinds.take(identities.of_endpoint).astype(np.uint64) for kinds in (likeness.sources, likeness.destinations)
        )
        self._sources = sources << np.uint64(32) if likeness.sources.any() else None
        self._destinations = (destinations << np.uint64(1)) | is_service
        self._is_pod = identities.is_pod.take(identities.of_endpoint)
        self._hosts = hosts
        self._ports = likeness.ports
        self._egress, self._ingress = (_HomeClasses(addresses[name], homes) for name in ("egress", "ingress"))
        classes = self._ports.count * self._egress.count * self._ingress.count
        if classes > _CLASSES or identities.is_pod.size >= _KINDS:
            raise OverflowError("policies tell more apart than two numbers hold")

    def words(self, pairs: Pairs) -> Words:
        """Both ends, and whether the destination is a Service; classes of addresses and port, and whether the
        connection is to itself or from the destination's own node."""
        words = np.empty((len(pairs), 2), np.uint64)
        words[:, 0] = self._destinations.take(pairs.dst_id)
        if self._sources is not None:
            words[:, 0] |= self._sources.take(pairs.src_id)
        classes = np.zeros(len(pairs), np.int64)
        if self._egress.count > 1:
            classes += self._egress.of(pairs.dst_id, pairs.backend_hi, pairs.backend_lo)
        if self._ingress.count > 1:
            classes *= self._ingress.count
            classes += self._ingress.of(pairs.src_id, pairs.src_hi, pairs.src_lo)
        if self._ports.count > 1:
            classes *= self._ports.count
            classes += self._ports.of(pairs.points())
        classes <<= 2
        classes |= pairs.to_themselves(self._is_pod)
        classes[self._hosts.from_own_nodes(pairs.src_id, pairs.dst_id)] |= 2
        words[:, 1] = classes.view(np.uint64)
        return words
