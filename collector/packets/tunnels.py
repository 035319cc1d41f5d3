"""Tunnels: what lies between an outer IP header and an inner one.

Each function reads one header of the packets `who` and moves them on, as `frames` says. What a tunnel's port carries
but the tunnel's own protocol would not is payload, not an error.
"""

from __future__ import annotations

import numpy as np

from .frames import Frames, Packets
from .kinds import ETHERTYPES, GPE_PROTOCOLS, GRE_PROTOCOLS, IP_PROTOCOLS, Kind, Opaque, Reason, Tunnel
from .octets import Positions


def esp(f: Frames, who: Packets) -> None:
    """ESP (RFC 4303): what it carries cannot be read."""
    f.opaque[who] = Opaque.ESP
    f.kind[who] = Kind.PAYLOAD


def esp_in_udp(f: Frames, who: Packets) -> None:
    """ESP on the port of IKE (RFC 3948): a first word of 0 is IKE's, a single byte keeps a NAT's entry alive."""
    f.kind[who] = Kind.PAYLOAD
    who = who[f.at[who] + 8 <= f.end[who]]
    f.opaque[who[f.octets.u32(f.at[who]) != 0]] = Opaque.ESP


def wireguard(f: Frames, who: Packets) -> None:
    """WireGuard: a message's type, from 1 to 4, and three bytes of 0. It is on other ports too, where none can tell."""
    f.kind[who] = Kind.PAYLOAD
    who = who[f.at[who] + 4 <= f.end[who]]
    message = f.octets.u32(f.at[who]) >> np.uint64(24)
    is_one = (f.octets.u32(f.at[who]) & np.uint64(0xFFFFFF) == 0) & (message >= 1) & (message <= 4)
    f.opaque[who[is_one]] = Opaque.WIREGUARD


def gre(f: Frames, who: Packets) -> None:
    """GRE (RFC 2784, 2890), NVGRE (RFC 7637) and PPTP's version of it (RFC 2637).

    ERSPAN without a sequence number has no header.
    """
    who = f.require(who, 4)
    at = f.at[who]
    flags, protocol = f.octets.u16(at), f.octets.u16(at + 2)
    is_pptp = flags & 7 == 1
    size = np.full(len(who), 4)
    for is_present in (flags & 0xC000, flags & 0x2000, flags & 0x1000, is_pptp & (flags & 0x0080 != 0)):
        size += np.where(is_present, 4, 0)
    kind = GRE_PROTOCOLS[protocol]
    has_network = (flags & 0xB000 == 0x2000) & (protocol == 0x6558)  # NVGRE has a key, and no other option
    has_network &= at + size <= f.end[who]
    f.network_in[who[has_network]] = f.octets.u32(at[has_network] + 4).astype(np.int64) >> 8
    is_first_erspan = (kind == Kind.ERSPAN_II) & (flags & 0x1000 == 0)
    kind[is_first_erspan] = Kind.ETHERNET
    f.entered[who[is_first_erspan]] = Tunnel.ERSPAN
    kind[is_pptp & (at + size == f.end[who])] = Kind.PAYLOAD  # an acknowledgement alone
    f.enter(who, at + size, kind)


def erspan_ii(f: Frames, who: Packets) -> None:
    """ERSPAN type II: eight bytes before a mirrored frame."""
    who = f.require(who, 8)
    f.enter(who, f.at[who] + 8, Kind.ETHERNET)


def erspan_iii(f: Frames, who: Packets) -> None:
    """ERSPAN type III: twelve bytes, and eight more where the last bit says so."""
    who = f.require(who, 12)
    at = f.at[who]
    f.enter(who, at + 12 + 8 * (f.octets.u8(at + 11) & 1), Kind.ETHERNET)


def wccp(f: Frames, who: Packets) -> None:
    """A packet that WCCP redirects: version 2 puts four bytes before it."""
    who = f.require(who, 1)
    at = f.at[who]
    f.enter(who, at + np.where(f.octets.u8(at) >> 4 == 4, 0, 4), Kind.IP)


def etherip(f: Frames, who: Packets) -> None:
    """EtherIP (RFC 3378)."""
    who = f.require(who, 2)
    f.enter(who, f.at[who] + 2, Kind.ETHERNET)


def vxlan(f: Frames, who: Packets) -> None:
    """VXLAN (RFC 7348): without its I flag it is none."""
    who = f.require(who, 8)
    at = f.at[who]
    is_vxlan = f.octets.u8(at) & 8 != 0
    f.network_in[who] = _vni(f, at)
    f.enter(who, at + 8, np.where(is_vxlan, Kind.ETHERNET, Kind.PAYLOAD).astype(np.uint8))


def vxlan_gpe(f: Frames, who: Packets) -> None:
    """VXLAN with a protocol field."""
    who = f.require(who, 8)
    at = f.at[who]
    f.network_in[who] = _vni(f, at)
    f.enter(who, at + 8, GPE_PROTOCOLS[f.octets.u8(at + 3)])


def geneve(f: Frames, who: Packets) -> None:
    """Geneve (RFC 8926), options skipped."""
    who = f.require(who, 8)
    at = f.at[who]
    first = f.octets.u8(at)
    f.network_in[who] = _vni(f, at)
    kind = np.where(first >> 6 == 0, ETHERTYPES[f.octets.u16(at + 2)], Kind.PAYLOAD)
    f.enter(who, at + 8 + (first & 63) * 4, kind.astype(np.uint8))


def _vni(f: Frames, at: Positions) -> Positions:
    """The network of VXLAN and Geneve alike: 24 bits behind the first word."""
    return f.octets.u32(at + 4).astype(np.int64) >> 8


def gtp(f: Frames, who: Packets) -> None:
    """GTP-U (3GPP TS 29.281): message type 255 carries a packet."""
    who = f.require(who, 8)
    at = f.at[who]
    flags = f.octets.u8(at)
    is_packet = (flags & 0xF0 == 0x30) & (f.octets.u8(at + 1) == 255)
    has_options = is_packet & (flags & 7 != 0)
    f.enter(who, at + 8, np.where(is_packet, Kind.IP, Kind.PAYLOAD).astype(np.uint8))
    who = f.require(who[has_options], 4)
    at = f.at[who]
    has_extension = (f.octets.u8(at - 8) & 4 != 0) & (f.octets.u8(at + 3) != 0)
    f.enter(who, at + 4, np.where(has_extension, Kind.GTP_EXTENSION, Kind.IP).astype(np.uint8))


def gtp_extension(f: Frames, who: Packets) -> None:
    """One extension header: its length in words first, the next one's type last."""
    who = f.require(who, 1)
    who = f.require(who, _extension_size(f, who))
    at = f.at[who] + _extension_size(f, who)
    f.enter(who, at, np.where(f.octets.u8(at - 1) == 0, Kind.IP, Kind.GTP_EXTENSION).astype(np.uint8))


def _extension_size(f: Frames, who: Packets) -> Positions:
    return np.maximum(f.octets.u8(f.at[who]) * 4, 4)


def teredo(f: Frames, who: Packets) -> None:
    """Teredo (RFC 4380): an IPv6 packet after an authentication and an origin indication, either of which may lack."""
    who = f.require(who, 4)
    at = f.at[who]
    start = f.octets.u16(at)
    is_authentication, is_origin = start == 1, start == 0
    size = np.where(is_origin, 8, 0)
    size[is_authentication] = 13 + f.octets.u8(at + 2)[is_authentication] + f.octets.u8(at + 3)[is_authentication]
    kind = np.where(start >> 12 == 6, Kind.IPV6, Kind.PAYLOAD)
    kind[is_authentication | is_origin] = Kind.TEREDO
    f.enter(who, at + size, kind.astype(np.uint8))


def l2tp(f: Frames, who: Packets) -> None:
    """L2TP version 2 (RFC 2661): data messages carry PPP."""
    who = f.require(who, 2)
    is_data = f.octets.u16(f.at[who]) & 0x800F == 2
    f.stop(who[~is_data], Reason.NOT_IP)
    who = f.require(who[is_data], _l2tp_size(f, who[is_data]))
    at = f.at[who] + _l2tp_size(f, who)
    has_offset = f.octets.u16(f.at[who]) & 0x0200 != 0
    f.enter(who, at + np.where(has_offset, f.octets.u16(at - 2), 0), Kind.PPP)


def _l2tp_size(f: Frames, who: Packets) -> Positions:
    flags = f.octets.u16(f.at[who])
    return 6 + np.where(flags & 0x4000, 2, 0) + np.where(flags & 0x0800, 4, 0) + np.where(flags & 0x0200, 2, 0)


def ayiya(f: Frames, who: Packets) -> None:
    """AYIYA, as IPv6 tunnel brokers spoke it: operation 1 forwards a packet."""
    who = f.require(who, 8)
    at = f.at[who]
    identity, signature = 1 << (f.octets.u8(at) >> 4), (f.octets.u8(at + 1) >> 4) * 4
    is_packet = f.octets.u8(at + 2) & 15 == 1
    kind = np.where(is_packet, IP_PROTOCOLS[f.octets.u8(at + 3)], Kind.PAYLOAD)
    f.enter(who, at + 8 + identity + signature, kind.astype(np.uint8))


def pim(f: Frames, who: Packets) -> None:
    """PIM version 2 (RFC 7761): a Register carries a multicast packet to the rendezvous point."""
    who = f.require(who, 8)
    at = f.at[who]
    is_register = f.octets.u8(at) == 0x21
    f.enter(who, at + 8, np.where(is_register, Kind.IP, Kind.PAYLOAD).astype(np.uint8))
