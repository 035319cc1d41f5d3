"""What a header can be, and the registries that say which header comes next.

Each table maps every value of a type field to a `Kind`; what it does not name is `Kind.PAYLOAD`, where decoding ends.
What is no carrier of IP is payload. So are ICMP and ICMPv6: the packet that an ICMP error quotes is no tunnel. ESP and
WireGuard do carry IP, which nobody can read: they end a packet too, and are named (`Opaque`).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt


class Kind(enum.IntEnum):
    """The header that lies at a packet's position. `decoder.HANDLERS` has one function for each but `PAYLOAD`."""

    PAYLOAD = 0
    UNKNOWN_LINK = enum.auto()
    ETHERNET = enum.auto()
    LLC = enum.auto()
    VLAN = enum.auto()
    VNTAG = enum.auto()
    BACKBONE = enum.auto()
    SLL = enum.auto()
    SLL2 = enum.auto()
    LOOPBACK = enum.auto()
    NFLOG = enum.auto()
    NFLOG_ATTRIBUTE = enum.auto()
    CISCO_HDLC = enum.auto()
    RADIOTAP = enum.auto()
    WLAN = enum.auto()
    PPP = enum.auto()
    PPPOE = enum.auto()
    MPLS = enum.auto()
    LABELLED = enum.auto()
    IP = enum.auto()
    IPV4 = enum.auto()
    IPV6 = enum.auto()
    EXTENSION = enum.auto()
    FRAGMENT = enum.auto()
    AUTHENTICATION = enum.auto()
    PORTS = enum.auto()
    UDP = enum.auto()
    GRE = enum.auto()
    ERSPAN_II = enum.auto()
    ERSPAN_III = enum.auto()
    WCCP = enum.auto()
    ETHERIP = enum.auto()
    VXLAN = enum.auto()
    VXLAN_GPE = enum.auto()
    GENEVE = enum.auto()
    GTP = enum.auto()
    GTP_EXTENSION = enum.auto()
    TEREDO = enum.auto()
    L2TP = enum.auto()
    AYIYA = enum.auto()
    PIM = enum.auto()
    ESP = enum.auto()
    ESP_IN_UDP = enum.auto()
    WIREGUARD = enum.auto()


class Tunnel(enum.IntEnum):
    """What carries an inner IP header in an outer one: the last header between them that is a tunnel's."""

    NONE = 0
    IPIP = enum.auto()  # IPv4 in IPv4
    SIX_IN_FOUR = enum.auto()
    FOUR_IN_SIX = enum.auto()
    SIX_IN_SIX = enum.auto()
    GRE = enum.auto()
    ERSPAN = enum.auto()
    WCCP = enum.auto()
    ETHERIP = enum.auto()
    MPLS = enum.auto()
    VXLAN = enum.auto()
    VXLAN_GPE = enum.auto()
    GENEVE = enum.auto()
    GTP = enum.auto()
    TEREDO = enum.auto()
    L2TP = enum.auto()
    AYIYA = enum.auto()
    PIM = enum.auto()


TUNNELS: Final[Mapping[Kind, Tunnel]] = {
    Kind.GRE: Tunnel.GRE,
    Kind.ERSPAN_II: Tunnel.ERSPAN,
    Kind.ERSPAN_III: Tunnel.ERSPAN,
    Kind.WCCP: Tunnel.WCCP,
    Kind.ETHERIP: Tunnel.ETHERIP,
    Kind.MPLS: Tunnel.MPLS,
    Kind.VXLAN: Tunnel.VXLAN,
    Kind.VXLAN_GPE: Tunnel.VXLAN_GPE,
    Kind.GENEVE: Tunnel.GENEVE,
    Kind.GTP: Tunnel.GTP,
    Kind.TEREDO: Tunnel.TEREDO,
    Kind.L2TP: Tunnel.L2TP,
    Kind.AYIYA: Tunnel.AYIYA,
    Kind.PIM: Tunnel.PIM,
}
"""The kinds that are tunnels, inside an IP header; one IP header right in another is told by their versions."""


class Opaque(enum.IntEnum):
    """What carries packets that cannot be read."""

    NONE = 0
    ESP = enum.auto()
    WIREGUARD = enum.auto()


class Reason(enum.IntEnum):
    """Why decoding of a packet ended. All but the first are malformed or unreadable input."""

    NOT_IP = 0  # what comes next is no IP header, or no tunnel: the ordinary end
    LINK_TYPE = enum.auto()  # a link type that is not known here
    LINK_CUT = enum.auto()  # ended inside a link or tunnel header
    IP_CUT = enum.auto()  # ended inside the IP header proper
    IP_VERSION = enum.auto()  # the version is not what the header before it promised
    IP_LENGTH = enum.auto()  # a header length or total length that cannot be
    EXTENSION_CUT = enum.auto()  # ended inside an IPv6 extension header or AH
    TRANSPORT_CUT = enum.auto()  # ended before the ports: counted under port 0
    TOO_DEEP = enum.auto()  # more headers than are followed


Table: TypeAlias = npt.NDArray[np.uint8]


def _table(size: int, kinds: Mapping[int, Kind], default: Kind = Kind.PAYLOAD) -> Table:
    table = np.full(size, default, np.uint8)
    for value, kind in kinds.items():
        table[value] = kind
    return table


_ETHERTYPES: Final = {
    0x0800: Kind.IP,
    0x86DD: Kind.IPV6,
    0x8100: Kind.VLAN,
    0x88A8: Kind.VLAN,
    0x9100: Kind.VLAN,
    0x9200: Kind.VLAN,
    0x8926: Kind.VNTAG,
    0x88E7: Kind.BACKBONE,
    0x8847: Kind.MPLS,
    0x8848: Kind.MPLS,
    0x8864: Kind.PPPOE,
    0x6558: Kind.ETHERNET,  # transparent Ethernet bridging: NVGRE and Geneve
    0x880B: Kind.PPP,
}

ETHERTYPES: Final = _table(1 << 16, _ETHERTYPES)
"""IEEE 802 numbers: after Ethernet, VLAN tags, SLL, SNAP and Geneve."""

GRE_PROTOCOLS: Final = _table(
    1 << 16, {**_ETHERTYPES, 0x88BE: Kind.ERSPAN_II, 0x22EB: Kind.ERSPAN_III, 0x883E: Kind.WCCP}
)
"""After GRE (RFC 2784)."""

PPP_PROTOCOLS: Final = _table(1 << 16, {0x0021: Kind.IP, 0x0057: Kind.IPV6, 0x0281: Kind.MPLS, 0x0283: Kind.MPLS})

IP_PROTOCOLS: Final = _table(
    1 << 8,
    {
        4: Kind.IP,
        6: Kind.PORTS,
        17: Kind.UDP,
        33: Kind.PORTS,
        41: Kind.IPV6,
        47: Kind.GRE,
        50: Kind.ESP,
        51: Kind.AUTHENTICATION,
        97: Kind.ETHERIP,
        103: Kind.PIM,
        132: Kind.PORTS,
        136: Kind.PORTS,
        137: Kind.MPLS,
    },
)
"""After IPv4."""

IPV6_PROTOCOLS: Final = IP_PROTOCOLS.copy()
"""After IPv6 and after AH, where extension headers (RFC 8200) may come first."""
IPV6_PROTOCOLS[[0, 43, 60]] = Kind.EXTENSION
IPV6_PROTOCOLS[44] = Kind.FRAGMENT

UDP_SERVERS: Final = _table(
    1 << 16,
    {
        1701: Kind.L2TP,
        2152: Kind.GTP,
        3544: Kind.TEREDO,
        4789: Kind.VXLAN,
        4500: Kind.ESP_IN_UDP,
        4790: Kind.VXLAN_GPE,
        5072: Kind.AYIYA,
        6081: Kind.GENEVE,
        6635: Kind.MPLS,
        6784: Kind.VXLAN,  # Weave's fast datapath
        8472: Kind.VXLAN,  # Linux's default, and so Flannel's
        51820: Kind.WIREGUARD,
        51821: Kind.WIREGUARD,  # Calico's for IPv6
        51871: Kind.WIREGUARD,  # Cilium's
    },
)
"""By destination port."""

UDP_PEERS: Final = _table(
    1 << 16,
    {
        1701: Kind.L2TP,
        2152: Kind.GTP,
        3544: Kind.TEREDO,
        4500: Kind.ESP_IN_UDP,
        5072: Kind.AYIYA,
        **dict.fromkeys((51820, 51821, 51871), Kind.WIREGUARD),
    },
)
"""By source port, where the destination port is none of those: tunnels that answer from their port."""

GPE_PROTOCOLS: Final = _table(1 << 8, {1: Kind.IP, 2: Kind.IPV6, 3: Kind.ETHERNET, 5: Kind.MPLS})

LINK_TYPES: Final = _table(
    1 << 16,
    {
        0: Kind.LOOPBACK,
        1: Kind.ETHERNET,
        9: Kind.PPP,
        12: Kind.IP,
        14: Kind.IP,
        50: Kind.PPP,
        51: Kind.PPPOE,
        101: Kind.IP,
        104: Kind.CISCO_HDLC,
        105: Kind.WLAN,
        108: Kind.LOOPBACK,
        113: Kind.SLL,
        127: Kind.RADIOTAP,
        219: Kind.MPLS,
        228: Kind.IPV4,
        229: Kind.IPV6,
        239: Kind.NFLOG,
        276: Kind.SLL2,
    },
    default=Kind.UNKNOWN_LINK,
)
"""LINKTYPE_ values of pcap and pcapng files."""
