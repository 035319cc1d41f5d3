"""Names for addresses beyond the cluster: ranges that a person named, a cloud's lists, and those that RFCs set aside.

The longest prefix that holds an address names it; of equal prefixes the one given last. What no range holds stays
`outside`. Ranges are settings: they hold always, while what the cluster says of an address comes before them.
The invariant: nested prefixes are flattened once, so that a look-up is one binary search whatever is nested in what.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .addresses import of
from .endpoints import ENDPOINTS, OUTSIDE
from .parts import Network
from .steps import Steps


class Place(NamedTuple):
    """What a named range stands for: one endpoint of kind External, however many prefixes it has."""

    name: str
    kind: str = "External"
    """The label `workload_kind`."""
    zone: str = ""
    region: str = ""
    is_own: bool = False
    """Whether its traffic never crosses the internet: a private range, or the cloud that the cluster itself is in."""


class NamedRange(NamedTuple):
    """One prefix and what it stands for."""

    network: Network
    place: Place


_RESERVED: Final = (
    ("private", "10.0.0.0/8"),  # RFC 1918
    ("private", "172.16.0.0/12"),
    ("private", "192.168.0.0/16"),
    ("private", "fc00::/7"),  # RFC 4193
    ("carrier-nat", "100.64.0.0/10"),  # RFC 6598
    ("link-local", "169.254.0.0/16"),  # RFC 3927
    ("link-local", "fe80::/10"),
    ("cloud-metadata", "169.254.169.254/32"),
    ("cloud-metadata", "fd00:ec2::254/128"),  # AWS
    ("cloud-metadata", "fd20:ce::254/128"),  # Google
    ("cloud-metadata", "100.100.100.200/32"),  # Alibaba
    ("cloud-metadata", "168.63.129.16/32"),  # Azure: DNS, agents and probes too, from the machine's own host
    ("loopback", "127.0.0.0/8"),
    ("loopback", "::1/128"),
    ("multicast", "224.0.0.0/4"),
    ("multicast", "ff00::/8"),
    ("benchmarking", "198.18.0.0/15"),  # RFC 2544
    ("reserved", "240.0.0.0/4"),  # RFC 1112; clouds let it be used inside
    ("broadcast", "255.255.255.255/32"),
    ("unspecified", "0.0.0.0/8"),
    ("unspecified", "::/128"),
)
BUILTIN: Final = tuple(NamedRange(ipaddress.ip_network(cidr), Place(name, is_own=True)) for name, cidr in _RESERVED)
"""Ranges that RFCs and every large cloud set aside. Whatever else is given comes after them."""

_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True, eq=False)
class Outside:
    """Named ranges as endpoints: `endpoints` are rows of a snapshot, and `name_of` finds the row of an address."""

    endpoints: pl.DataFrame
    """`ENDPOINTS`, one row a place, with ids that follow one another."""
    own_ids: tuple[int, ...]
    """Ids of the places whose traffic never crosses the internet."""
    _firsts: Steps
    """First address of each flat interval; an interval ends where the next begins."""
    _ids: NDArray[np.uint32]
    """Endpoint id of each interval, OUTSIDE where no range holds it, and before them OUTSIDE."""

    def id_of(self, hi: NDArray[np.uint64], lo: NDArray[np.uint64]) -> NDArray[np.uint32]:
        """The endpoint of each address, OUTSIDE where no range holds it."""
        return self._ids.take(self._firsts.up_to(hi, lo))


def outside_of(ranges: Iterable[NamedRange], first_id: int) -> Outside:
    """The ranges as endpoints with ids from `first_id` on, in the order in which places first appear."""
    ranges = list(ranges)
    ids = {place: number for number, place in enumerate(dict.fromkeys(r.place for r in ranges), start=first_id)}
    rows = [
        (number, "External", "", place.name, place.kind, place.name, "", place.zone, place.region, "", True)
        for place, number in ids.items()
    ]
    flat = list(_flatten([(r.network, ids[r.place]) for r in ranges]))
    return Outside(
        endpoints=pl.DataFrame(rows, schema=ENDPOINTS, orient="row"),
        own_ids=tuple(number for place, number in ids.items() if place.is_own),
        _firsts=Steps([first for first, _ in flat]),
        _ids=np.array([OUTSIDE, *(number for _, number in flat)], np.uint32),
    )


def _flatten(ranges: Sequence[tuple[Network, int]]) -> Iterator[tuple[int, int]]:
    """First address and id of disjoint intervals, ascending; the gaps between ranges are OUTSIDE's.

    Prefixes are nested or apart, so the ones that are open form a stack. IPv4 lies inside IPv6 here, as a range of its
    own without a name, so that `::/0` does not name IPv4 addresses.
    """
    spans = [(*_bounds(_MAPPED), -1, OUTSIDE)]
    spans += [(*_bounds(network), order, number) for order, (network, number) in enumerate(ranges)]
    spans.sort(key=lambda span: (span[0], -span[1], span[2]))
    starts: dict[int, int] = {}
    holding: list[tuple[int, int]] = []
    for first, last, _, number in [*spans, (2**128, 2**128, 0, OUTSIDE)]:
        while holding and holding[-1][0] < first:
            end, _ = holding.pop()
            starts[end + 1] = holding[-1][1] if holding else OUTSIDE
        starts[first] = number
        holding.append((last, number))
    before = OUTSIDE
    for first, number in sorted(starts.items()):
        if number != before and first < 2**128:
            yield first, number
            before = number


def _bounds(network: Network) -> tuple[int, int]:
    first, last = of(network[0]), of(network[-1])
    return first.hi << 64 | first.lo, last.hi << 64 | last.lo
