"""Which peers and ports each rule means, as tables: a match is a look-up by identity, address class and port class.

Rules that name the same peers, or the same ports, share a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .classes import AddressClasses, Classes, Mask, PortClasses, point
from .identities import Identities
from .lists import Ids
from .terms import Addresses, NamedPort, Nodes, Peer, Pods, Ports, Rule

Unsigned = npt.NDArray[np.unsignedinteger[Any]]
PeerSet = frozenset[Peer] | None
PortSet = frozenset[Ports | NamedPort] | None

_POINT_BITS: Final = 24


class Matcher:
    """The tables of all rules of a set of policies, for both directions."""

    def __init__(self, rules: Sequence[Rule], identities: Identities) -> None:
        peer_rows: dict[PeerSet, int] = {}
        port_rows: dict[PortSet, int] = {}
        self.peers_of_rule = np.array([peer_rows.setdefault(rule.peers, len(peer_rows)) for rule in rules], np.uint32)
        self.ports_of_rule = np.array([port_rows.setdefault(rule.ports, len(port_rows)) for rule in rules], np.uint32)
        self.addresses = AddressClasses(term for peers in peer_rows for term in _addresses(peers))
        self.port_ranges = [term for ports in port_rows for term in _ranges(ports)]
        self.ports = PortClasses(self.port_ranges)
        self._identity_count = len(identities.named_ports)
        self._by_identity, self._by_address = _peer_tables(peer_rows, identities, self.addresses)
        self._by_port = np.zeros((len(port_rows), self.ports.count), dtype=np.bool_)
        for ports, row in port_rows.items():
            if ports is None:
                self._by_port[row] = True
            for term in _ranges(ports):
                self._by_port[row] |= self.ports.within(term)
        self._has_names = np.array([any(isinstance(term, NamedPort) for term in ports or ()) for ports in port_rows])
        self._named_points = _named_points(port_rows, identities)

    def match_peers(self, rules: Ids, identities: Ids, address_classes: Classes) -> Mask:
        """Row by row: whether the rule means the peer of this identity or of this address class."""
        rows = self.peers_of_rule[rules]
        matched: Mask = self._by_identity[rows, identities] | self._by_address[rows, address_classes]
        return matched

    def peers_alike(self) -> npt.NDArray[np.int64]:
        """By identity: a number that it shares with those that no rule tells from it as a peer."""
        if not self._by_identity.size:
            return np.zeros(self._identity_count, dtype=np.int64)
        columns = np.ascontiguousarray(np.packbits(self._by_identity, axis=0).T)
        alike: npt.NDArray[np.int64] = np.unique(columns.view(f"V{columns.shape[1]}").ravel(), return_inverse=True)[1]
        return alike

    def match_ranges(self, rules: Ids, address_classes: Classes) -> Mask:
        """Row by row: whether the rule means this address class, whoever holds its addresses."""
        matched: Mask = self._by_address[self.peers_of_rule[rules], address_classes]
        return matched

    def match_ports(self, rules: Ids, port_classes: Classes, points: npt.NDArray[np.uint32], destinations: Ids) -> Mask:
        """Row by row: whether the rule means this port, by number or by its name at the destination's identity."""
        rows = self.ports_of_rule[rules]
        matched: Mask = self._by_port[rows, port_classes]
        named = np.flatnonzero(~matched & self._has_names[rows]) if self._named_points.size else np.array([], np.int64)
        if named.size:
            keys = _named_key(rows[named], destinations[named], points[named], self._identity_count)
            places = np.minimum(np.searchsorted(self._named_points, keys), self._named_points.size - 1)
            matched[named] = self._named_points[places] == keys
        return matched


def _peer_tables(peer_rows: dict[PeerSet, int], identities: Identities, classes: AddressClasses) -> tuple[Mask, Mask]:
    """Peers by identity, and peers by address class. All peers are all addresses."""
    by_identity = np.zeros((len(peer_rows), len(identities.named_ports)), dtype=np.bool_)
    by_address = np.zeros((len(peer_rows), classes.count), dtype=np.bool_)
    selected: dict[Peer, Mask] = {}
    for peers, row in peer_rows.items():
        if peers is None:
            by_address[row] = True
        for term in peers or ():
            if isinstance(term, Pods | Nodes):
                if term not in selected:
                    selected[term] = identities.select(term)
                by_identity[row] |= selected[term]
            else:
                by_address[row] |= classes.within(term)
    return by_identity, by_address


def _named_points(port_rows: dict[PortSet, int], identities: Identities) -> npt.NDArray[np.uint64]:
    """Sorted keys of row, identity and point: the numbers that a row's names have at each identity."""
    holders: dict[str, list[tuple[int, int, int]]] = {}
    for identity, ports in enumerate(identities.named_ports):
        for name, protocol, number in ports:
            holders.setdefault(name, []).append((identity, protocol, number))
    found = {
        (row, identity, point(protocol, number))
        for ports, row in port_rows.items()
        for term in ports or ()
        if isinstance(term, NamedPort)
        for identity, protocol, number in holders.get(term.name, ())
        if term.protocol in {None, protocol}
    }
    rows, owners, points = np.array(sorted(found), dtype=np.uint64).reshape(-1, 3).T
    return _named_key(rows, owners, points, len(identities.named_ports))


def _named_key(rows: Unsigned, identities: Unsigned, points: Unsigned, count: int) -> npt.NDArray[np.uint64]:
    wide = rows.astype(np.uint64) * np.uint64(count) + identities.astype(np.uint64)
    return (wide << np.uint64(_POINT_BITS)) | points.astype(np.uint64)


def _addresses(peers: PeerSet) -> Iterable[Addresses]:
    return [term for term in peers or () if isinstance(term, Addresses)]


def _ranges(ports: PortSet) -> Iterable[Ports]:
    return [term for term in ports or () if isinstance(term, Ports)]
