"""IPv4, IPv6 with its extension headers, AH, and the ports of what they carry.

Each function reads one header of the packets `who` and moves them on, as `frames` says.
"""

from __future__ import annotations

import numpy as np

from .frames import Frames, Packets
from .kinds import IP_PROTOCOLS, IPV6_PROTOCOLS, UDP_PEERS, UDP_SERVERS, Kind, Reason

MAPPED = np.uint64(0xFFFF << 32)
"""IPv4 addresses are `::ffff:a.b.c.d`, as in `collector.schema`."""


def ip(f: Frames, who: Packets) -> None:
    """Either version, by its first nibble."""
    who = f.require(who, 1, Reason.IP_CUT)
    at = f.at[who]
    version = f.octets.u8(at) >> 4
    for number, kind in ((4, Kind.IPV4), (6, Kind.IPV6)):
        f.enter(who[version == number], at[version == number], kind)
    f.stop(who[(version != 4) & (version != 6)], Reason.IP_VERSION)


def ipv4(f: Frames, who: Packets) -> None:
    """RFC 791. A later fragment ends here, a first one is read on. Total length 0 is a segment too big to say so."""
    who = f.require(who, 20, Reason.IP_CUT)
    first = f.octets.u8(f.at[who])
    f.stop(who[first >> 4 != 4], Reason.IP_VERSION)
    who, first = who[first >> 4 == 4], first[first >> 4 == 4]
    header, total = (first & 15) * 4, f.octets.u16(f.at[who] + 2)
    is_sound = (header >= 20) & ((total == 0) | (total >= header))
    if not is_sound.all():
        f.stop(who[~is_sound], Reason.IP_LENGTH)
        who, header, total = who[is_sound], header[is_sound], total[is_sound]
    at = f.at[who]
    protocol = f.octets.u8(at + 9)
    f.open_header(
        who,
        total,
        src_hi=np.zeros(len(who), np.uint64),
        src_lo=f.octets.u32(at + 12) | MAPPED,
        dst_hi=np.zeros(len(who), np.uint64),
        dst_lo=f.octets.u32(at + 16) | MAPPED,
        protocol=protocol,
    )
    f.is_later[who] = is_later = f.octets.u16(at + 6) & 0x1FFF != 0
    f.enter(who, at + header, np.where(is_later, Kind.PAYLOAD, IP_PROTOCOLS[protocol]).astype(np.uint8))


def ipv6(f: Frames, who: Packets) -> None:
    """RFC 8200. Payload length 0 is a jumbogram, or a segment too big to say so."""
    who = f.require(who, 40, Reason.IP_CUT)
    is_six = f.octets.u8(f.at[who]) >> 4 == 6
    f.stop(who[~is_six], Reason.IP_VERSION)
    who = who[is_six]
    at = f.at[who]
    payload, protocol = f.octets.u16(at + 4), f.octets.u8(at + 6)
    f.open_header(
        who,
        np.where(payload > 0, payload + 40, 0),
        src_hi=f.octets.u64(at + 8),
        src_lo=f.octets.u64(at + 16),
        dst_hi=f.octets.u64(at + 24),
        dst_lo=f.octets.u64(at + 32),
        protocol=protocol,
    )
    f.enter(who, at + 40, IPV6_PROTOCOLS[protocol])


def extension(f: Frames, who: Packets) -> None:
    """Hop-by-hop, routing or destination options."""
    who = f.require(who, 2, Reason.EXTENSION_CUT)
    at = f.at[who]
    protocol = f.octets.u8(at)
    f.set_protocol(who, protocol)
    f.enter(who, at + (f.octets.u8(at + 1) + 1) * 8, IPV6_PROTOCOLS[protocol])


def fragment(f: Frames, who: Packets) -> None:
    """IPv6's fragment header. Offset 0 is a first fragment or a whole packet (RFC 6946) and is read on."""
    who = f.require(who, 8, Reason.EXTENSION_CUT)
    at = f.at[who]
    protocol = f.octets.u8(at)
    f.set_protocol(who, protocol)
    f.is_later[who] = is_later = f.octets.u16(at + 2) & 0xFFF8 != 0
    f.enter(who, at + 8, np.where(is_later, Kind.PAYLOAD, IPV6_PROTOCOLS[protocol]).astype(np.uint8))


def authentication(f: Frames, who: Packets) -> None:
    """AH (RFC 4302), whose payload is in the clear."""
    who = f.require(who, 2, Reason.EXTENSION_CUT)
    at = f.at[who]
    protocol = f.octets.u8(at)
    f.set_protocol(who, protocol)
    f.enter(who, at + (f.octets.u8(at + 1) + 2) * 4, IPV6_PROTOCOLS[protocol])


def ports(f: Frames, who: Packets) -> None:
    """TCP, SCTP, DCCP and UDP-Lite all begin with their ports."""
    who = f.require(who, 4, Reason.TRANSPORT_CUT)
    at = f.at[who]
    f.set_ports(who, f.octets.u16(at), f.octets.u16(at + 2))
    f.enter(who, at + 4, Kind.PAYLOAD)


def udp(f: Frames, who: Packets) -> None:
    """UDP, whose port may say that a tunnel begins."""
    who = f.require(who, 4, Reason.TRANSPORT_CUT)
    at = f.at[who]
    src_port, dst_port = f.octets.u16(at), f.octets.u16(at + 2)
    f.set_ports(who, src_port, dst_port)
    by_server = UDP_SERVERS[dst_port]
    f.enter(who, at + 8, np.where(by_server == Kind.PAYLOAD, UDP_PEERS[src_port], by_server))
