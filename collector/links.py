"""The node's own links by rtnetlink: which carry its traffic, and their 64-bit counters.

Follows include/uapi/linux/if_link.h. A node's uplink is a device without a kind (hardware, virtio), a bond or team in
place of its members, or, where the node is itself a container, a veth that leads into another namespace and has a
global address: a pod's host-side veth has none of its own. Everything between (bridges, the pods' veths, dummies,
VLANs on an uplink) would count the same packets again and is left out.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from .netlink import MalformedError, Messages, attributes, dump
from .schema import SCOPES

_GETLINK, _GETADDR, _GETROUTE = 18, 22, 26
_NEWLINK, _NEWADDR, _NEWROUTE = 16, 20, 24
_HEADER: Final = struct.Struct("=IHHIIBxHiII")  # struct nlmsghdr, struct ifinfomsg
_ADDRESS_HEADER: Final = struct.Struct("=IHHIIBBBBI")  # struct nlmsghdr, struct ifaddrmsg
_ROUTE_HEADER: Final = struct.Struct("=IHHIIBBBBBBBBI")  # struct nlmsghdr, struct rtmsg
_RTA_OIF = 4
_IFNAME, _LINK, _MASTER, _LINKINFO, _STATS64, _LINK_NETNSID = 3, 5, 10, 18, 23, 37
_INFO_KIND, _INFO_DATA = 1, 2
_PORT: Final = {"vxlan": 15, "geneve": 5}  # IFLA_VXLAN_PORT, IFLA_GENEVE_PORT
_STATS: Final = struct.Struct("=16Q")  # struct rtnl_link_stats64, to rx_missed_errors
_RX_MISSED: Final = 15
_IFF_UP, _IFF_LOOPBACK = 0x1, 0x8
_GLOBAL_SCOPE = 0

OVERLAY_KINDS: Final = frozenset({"vxlan", "geneve", "ipip", "sit", "ip6tnl", "gre", "ip6gre", "wireguard"})
TUNNEL_PORTS: Final = frozenset({4789, 8472, 6784, 6081})
"""Of tunnels over UDP that are opened at uplinks; ipip and sit are opened too."""
UPLINK_KINDS: Final = frozenset({"", "bond", "team"})

ETHERNET: Final = 1  # ARPHRD_ETHER

Counts = tuple[int, int, int, int, int, int, int, int]
"""Receive bytes, packets, errors, dropped; transmit the same."""


@dataclass(frozen=True, slots=True)
class Link:
    """One link as the kernel tells it. `master` is the ifindex of the bond, team or bridge that it is part of, or 0."""

    ifindex: int
    name: str
    kind: str
    flags: int
    master: int
    crosses: bool
    """Its other end is in another namespace."""
    counts: Counts
    hardware: int = ETHERNET
    """ARPHRD_*, what its frames begin with."""
    parent: int = 0
    """The ifindex of the link that it lies on, in a VLAN for one; 0 where there is none in this namespace."""
    port: int = 0
    """Of a tunnel over UDP."""


Points = dict[int, Literal["pod", "node"]]
"""Interfaces to capture at, by index."""


def read_links(sock: socket.socket, flaws: Counter[str]) -> list[tuple[str, Link]]:
    """The (scope, link) pairs of the node's uplinks and overlay devices that are up. Raises OSError, TransientError."""
    messages = dump(sock, _GETLINK, bytes(16))
    links = {link.ifindex: link for link in _links(messages)}
    addressed: set[int] = set()
    if any(link.kind == "veth" and link.crosses and not link.master for link in links.values()):
        addresses = dump(sock, _GETADDR, bytes(8))
        addressed = set(_addressed(addresses))
        flaws.update(addresses.flaws)
    flaws.update(messages.flaws)
    scopes = ((scope_of(link, links, addressed), link) for link in links.values())
    return [(scope, link) for scope, link in scopes if scope]


def capture_points(sock: socket.socket, flaws: Counter[str]) -> Points:
    """Where every packet of a pod and between nodes passes: the host's ends of the pods' veths, the node's uplinks.

    Some networks give the host's end of a pod's veth an address: a veth is the node's uplink only where a default route
    leads through it. Raises OSError, TransientError.
    """
    return capture_paths(sock, flaws)[0]


def capture_paths(sock: socket.socket, flaws: Counter[str]) -> tuple[Points, frozenset[int]]:
    """The same, and `passed_on` of the links that there are."""
    messages, routes = dump(sock, _GETLINK, bytes(16)), dump(sock, _GETROUTE, bytes(12))
    links = {link.ifindex: link for link in _links(messages)}
    exits = set(_default_exits(routes))
    flaws.update(messages.flaws)
    flaws.update(routes.flaws)
    points: Points = {}
    for link in links.values():
        if link.hardware != ETHERNET:
            continue
        if scope_of(link, links, exits) == "node":
            points[link.ifindex] = "node"
        elif link.kind == "veth" and link.crosses:
            points[link.ifindex] = "pod"
    return points, passed_on(links, points)


def passed_on(links: Mapping[int, Link], points: Mapping[int, str]) -> frozenset[int]:
    """The links, none of `points`, that receive nothing but what one of `points` has received.

    Those are VLANs on such, tunnels that are opened at the uplink, and bridges with no port that is neither.
    """
    passed = {
        link.ifindex
        for link in links.values()
        if (link.kind == "vlan" and link.parent in points)
        or link.kind in ("ipip", "sit")
        or (link.kind in _PORT and link.port in TUNNEL_PORTS)
    }
    ports: dict[int, set[int]] = {}
    for link in links.values():
        ports.setdefault(link.master, set()).add(link.ifindex)
    known = passed | points.keys()
    passed |= {
        link.ifindex for link in links.values() if link.kind == "bridge" and ports.get(link.ifindex, {0}) <= known
    }
    return frozenset(passed)


def scope_of(link: Link, links: Mapping[int, Link], addressed: set[int]) -> str:
    """A name of SCOPES, or "" for a link that is left out; `addressed` are the links with a global address."""
    _, node, overlay = SCOPES
    if not link.flags & _IFF_UP or link.flags & _IFF_LOOPBACK:
        return ""
    if link.kind in OVERLAY_KINDS:
        return overlay
    master = links.get(link.master)
    if link.kind in UPLINK_KINDS and not (master and master.kind in UPLINK_KINDS):
        return node
    if link.kind == "veth" and link.crosses and not link.master and link.ifindex in addressed:
        return node
    return ""


def _links(messages: Messages) -> Iterator[Link]:
    for message in messages.contents():
        if len(message) < _HEADER.size:
            messages.flaws["truncated"] += 1
            continue
        _, message_type, _, _, _, _, hardware, ifindex, flags, _ = _HEADER.unpack_from(message)
        if message_type != _NEWLINK:
            continue
        try:
            found = _payloads(message, _HEADER.size)
            details = _payloads(found.get(_LINKINFO, b""), 0)
            kind, crosses = _text(details.get(_INFO_KIND, b"")), _LINK_NETNSID in found
            data = _payloads(details.get(_INFO_DATA, b""), 0) if kind in _PORT else {}
            yield Link(
                ifindex,
                _text(found[_IFNAME]),
                kind,
                flags,
                int.from_bytes(found.get(_MASTER, b""), sys.byteorder),
                crosses,
                _counts(found[_STATS64]),
                hardware,
                0 if crosses else int.from_bytes(found.get(_LINK, b""), sys.byteorder),
                int.from_bytes(data.get(_PORT.get(kind, 0), b""), "big"),
            )
        except (MalformedError, KeyError, struct.error):
            messages.flaws["attribute"] += 1


def _payloads(message: bytes, start: int) -> dict[int, bytes]:
    return {kind: message[begin:end] for kind, begin, end in attributes(message, start, len(message))}


def _counts(stats: bytes) -> Counts:
    """As /proc/net/dev has them: what the device missed is among the dropped."""
    values = _STATS.unpack_from(stats)
    rx_packets, tx_packets, rx_bytes, tx_bytes, rx_errors, tx_errors, rx_dropped, tx_dropped = values[:8]
    return rx_bytes, rx_packets, rx_errors, rx_dropped + values[_RX_MISSED], tx_bytes, tx_packets, tx_errors, tx_dropped


def _addressed(messages: Messages) -> Iterator[int]:
    for message in messages.contents():
        if len(message) < _ADDRESS_HEADER.size:
            messages.flaws["truncated"] += 1
            continue
        _, message_type, _, _, _, _, _, _, scope, ifindex = _ADDRESS_HEADER.unpack_from(message)
        if message_type == _NEWADDR and scope == _GLOBAL_SCOPE:
            yield ifindex


def _default_exits(messages: Messages) -> Iterator[int]:
    for message in messages.contents():
        if len(message) < _ROUTE_HEADER.size:
            messages.flaws["truncated"] += 1
            continue
        _, message_type, _, _, _, _, prefix, _, _, _, _, _, _, _ = _ROUTE_HEADER.unpack_from(message)
        if message_type == _NEWROUTE and prefix == 0:
            try:
                yield int.from_bytes(_payloads(message, _ROUTE_HEADER.size).get(_RTA_OIF, b""), sys.byteorder)
            except MalformedError:
                messages.flaws["attribute"] += 1


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace")
