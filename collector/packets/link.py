"""Link layers and what is stacked on them: Ethernet, tags, capture pseudo-headers, PPP, MPLS, 802.11.

Each function reads one header of the packets `who` and moves them on, as `frames` says.
"""

from __future__ import annotations

import numpy as np

from .frames import Frames, Packets
from .kinds import ETHERTYPES, PPP_PROTOCOLS, Kind, Reason
from .octets import Positions

FIRST_ETHERTYPE = 0x600
"""A smaller type field is the length of an IEEE 802.3 frame that begins with LLC."""


def by_ethertype(f: Frames, who: Packets, at: Positions, ethertype: Positions) -> None:
    """Enter what an Ethernet type field says lies at `at`."""
    kind = np.where(ethertype < FIRST_ETHERTYPE, Kind.LLC, ETHERTYPES[ethertype])
    f.enter(who, at, kind.astype(np.uint8))


def unknown_link(f: Frames, who: Packets) -> None:
    """A link type that nobody here can read."""
    f.stop(who, Reason.LINK_TYPE)


def ethernet(f: Frames, who: Packets) -> None:
    """Two addresses and a type."""
    who = f.require(who, 14)
    at = f.at[who]
    by_ethertype(f, who, at + 14, f.octets.u16(at + 12))


def llc(f: Frames, who: Packets) -> None:
    """LLC with SNAP (RFC 1042), or LLC's own number for IP."""
    who = f.require(who, 3)
    at = f.at[who]
    is_ip = f.octets.u16(at) == 0x0606
    is_snap = (f.octets.u16(at) == 0xAAAA) & (f.octets.u8(at + 2) == 3)
    f.enter(who, at + 3, np.where(is_ip, Kind.IP, Kind.PAYLOAD).astype(np.uint8))
    who = f.require(who[is_snap], 5)
    at = f.at[who]
    is_ethertype = (f.octets.u16(at) == 0) & (f.octets.u8(at + 2) == 0)
    kind = np.where(is_ethertype, ETHERTYPES[f.octets.u16(at + 3)], Kind.PAYLOAD)
    f.enter(who, at + 5, kind.astype(np.uint8))


def vlan(f: Frames, who: Packets) -> None:
    """An 802.1Q or 802.1ad tag; tags nest by their type field."""
    who = f.require(who, 4)
    at = f.at[who]
    by_ethertype(f, who, at + 4, f.octets.u16(at + 2))


def vntag(f: Frames, who: Packets) -> None:
    """A VN-Tag: four bytes before the next type field."""
    who = f.require(who, 6)
    at = f.at[who]
    by_ethertype(f, who, at + 6, f.octets.u16(at + 4))


def backbone(f: Frames, who: Packets) -> None:
    """An 802.1ah service tag, with the customer's whole Ethernet header after it."""
    who = f.require(who, 4)
    f.enter(who, f.at[who] + 4, Kind.ETHERNET)


def sll(f: Frames, who: Packets) -> None:
    """Linux "cooked" capture."""
    who = f.require(who, 16)
    at = f.at[who]
    by_ethertype(f, who, at + 16, f.octets.u16(at + 14))


def sll2(f: Frames, who: Packets) -> None:
    """Linux "cooked" capture, version 2."""
    who = f.require(who, 20)
    at = f.at[who]
    by_ethertype(f, who, at + 20, f.octets.u16(at))


def loopback(f: Frames, who: Packets) -> None:
    """BSD loopback: an address family in the byte order of whoever captured, or in network order."""
    who = f.require(who, 4)
    at = f.at[who]
    big = f.octets.u32(at)
    family = np.minimum(big, big.astype(np.uint32).byteswap())
    kind = np.where(family == 2, Kind.IP, np.where(np.isin(family, (10, 24, 28, 30)), Kind.IPV6, Kind.PAYLOAD))
    f.enter(who, at + 4, kind.astype(np.uint8))


def nflog(f: Frames, who: Packets) -> None:
    """Netfilter's log: a header, then attributes, one of which is the packet."""
    who = f.require(who, 4)
    f.enter(who, f.at[who] + 4, Kind.NFLOG_ATTRIBUTE)


def nflog_attribute(f: Frames, who: Packets) -> None:
    """Length and type, in the byte order of whoever captured; types are small, which gives the order away."""
    who = f.require(who, 4)
    at = f.at[who]
    length, number = f.octets.u16(at), f.octets.u16(at + 2)
    is_big = number < 256
    length = np.where(is_big, length, _swapped(length))
    number = np.where(is_big, number, _swapped(number))
    is_payload = number == 9
    payload = who[is_payload]
    f.end[payload] = np.minimum(f.end[payload], at[is_payload] + np.maximum(length[is_payload], 4))
    f.enter(payload, at[is_payload] + 4, Kind.IP)
    f.enter(who[~is_payload], at[~is_payload] + np.maximum(length[~is_payload] + 3 & ~3, 4), Kind.NFLOG_ATTRIBUTE)


def _swapped(values: Positions) -> Positions:
    return values >> 8 | (values & 0xFF) << 8


def cisco_hdlc(f: Frames, who: Packets) -> None:
    """Address, control, and an Ethernet type."""
    who = f.require(who, 4)
    at = f.at[who]
    by_ethertype(f, who, at + 4, f.octets.u16(at + 2))


def radiotap(f: Frames, who: Packets) -> None:
    """Radiotap: its length is in it, little-endian."""
    who = f.require(who, 4)
    at = f.at[who]
    f.enter(who, at + np.maximum(_swapped(f.octets.u16(at + 2)), 4), Kind.WLAN)


def wlan(f: Frames, who: Packets) -> None:
    """802.11 data frames in the clear, each with LLC inside; aggregates of several frames are not taken apart."""
    who = f.require(who, 24)
    at = f.at[who]
    control, flags = f.octets.u8(at), f.octets.u8(at + 1)
    is_qos = control & 0x80 != 0
    is_data = (control & 0x4F == 0x08) & (flags & 0x40 == 0)  # data, of a subtype that has a body, not encrypted
    size = 24 + 6 * (flags & 3 == 3) + 2 * is_qos + 4 * (is_qos & (flags & 0x80 != 0))
    f.enter(who, at + size, np.where(is_data, Kind.LLC, Kind.PAYLOAD).astype(np.uint8))


def pppoe(f: Frames, who: Packets) -> None:
    """PPPoE (RFC 2516): code 0 is a session's data."""
    who = f.require(who, 6)
    at = f.at[who]
    is_data = f.octets.u8(at + 1) == 0
    f.enter(who, at + 6, np.where(is_data, Kind.PPP, Kind.PAYLOAD).astype(np.uint8))


def ppp(f: Frames, who: Packets) -> None:
    """PPP (RFC 1661), with or without address and control, its protocol in one byte or two."""
    who = f.require(who, 2)
    at = f.at[who]
    who = f.require(who, 2 + 2 * (f.octets.u16(at) == 0xFF03))
    at = f.at[who] + 2 * (f.octets.u16(f.at[who]) == 0xFF03)
    first = f.octets.u8(at)
    is_short = first & 1 == 1
    protocol = np.where(is_short, first, f.octets.u16(at))
    f.enter(who, at + np.where(is_short, 1, 2), PPP_PROTOCOLS[protocol])


def mpls(f: Frames, who: Packets) -> None:
    """One label of the stack (RFC 3032); the bottom bit says that it is the last."""
    who = f.require(who, 4)
    at = f.at[who]
    is_last = f.octets.u8(at + 2) & 1 == 1
    f.enter(who, at + 4, np.where(is_last, Kind.LABELLED, Kind.MPLS).astype(np.uint8))


def labelled(f: Frames, who: Packets) -> None:
    """Below the labels nothing names the payload: a first nibble of 4 or 6 is IP (RFC 4928).

    Else it is Ethernet where its type field is a known one, with a control word before it or without (RFC 4448).
    """
    who = f.require(who, 1)
    at = f.at[who]
    nibble = f.octets.u8(at) >> 4
    is_ip = (nibble == 4) | (nibble == 6)
    f.enter(who, at, np.where(is_ip, Kind.IP, Kind.PAYLOAD).astype(np.uint8))
    for skip in (4, 0):  # the second may overrule the first
        fits = ~is_ip & (at + skip + 14 <= f.end[who])
        bridged, place = who[fits], at[fits] + skip
        is_frame = ETHERTYPES[f.octets.u16(place + 12)] != Kind.PAYLOAD
        f.enter(bridged[is_frame], place[is_frame], Kind.ETHERNET)
