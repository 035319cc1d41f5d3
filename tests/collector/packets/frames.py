"""Frames by scapy, each with the IP headers that it holds, outermost first.

`Ether` always gets its `dst`: without it scapy asks the machine's own interfaces.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from scapy.contrib.erspan import ERSPAN_II, ERSPAN_III
from scapy.contrib.etherip import EtherIP
from scapy.contrib.geneve import GENEVE, GeneveOptions
from scapy.contrib.gtp import GTP_U_Header, GTPPDUSessionContainer
from scapy.contrib.mpls import MPLS
from scapy.layers.dot11 import Dot11, Dot11QoS, RadioTap
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, IPOption_NOP
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.ipsec import AH, ESP
from scapy.layers.l2 import ARP, GRE, GRE_PPTP, LLC, SNAP, CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Dot3, Ether
from scapy.layers.l2tp import L2TP
from scapy.layers.ppp import HDLC, PPP, PPPoE
from scapy.layers.sctp import SCTP
from scapy.layers.vxlan import VXLAN
from scapy.packet import Padding, Raw

from collector.packets.kinds import Opaque

Flow: TypeAlias = tuple[str, str, int, int, int, int]
"""Source, destination, ports, protocol, bytes."""


@dataclass(frozen=True)
class Case:
    """One frame, and what is true of it. No flows: nothing in it is an IP header."""

    name: str
    frame: bytes
    flows: tuple[Flow, ...]
    link_type: int = 1
    opaque: Opaque = Opaque.NONE


ETHER: Final = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
OUTER: Final = IP(src="192.0.2.1", dst="192.0.2.2")
OUTER6: Final = IPv6(src="2001:db8::a", dst="2001:db8::b")
TCP4: Final = IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=1234, dport=80)
UDP6: Final = IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=5353, dport=53) / Raw(b"query")
TCP4_FLOW: Final = ("10.0.0.1", "10.0.0.2", 1234, 80, 6, 40)
UDP6_FLOW: Final = ("2001:db8::1", "2001:db8::2", 5353, 53, 17, 53)


def raw(data: str) -> Any:
    return Raw(bytes.fromhex(data))


def plain() -> list[Case]:
    """One IP header under some link layer."""
    ethernet = {
        "ethernet, IPv4": ETHER / TCP4,
        "VLAN": ETHER / Dot1Q(vlan=7) / TCP4,
        "three tags": ETHER / Dot1AD(vlan=1) / Dot1Q(vlan=2) / Dot1Q(vlan=3) / TCP4,
        "VN-Tag": Ether(dst=ETHER.dst, type=0x8926) / raw("00000000 0800") / TCP4,
        "802.1ah": Ether(dst=ETHER.dst, type=0x88E7) / raw("00000001") / ETHER / TCP4,
        "LLC and SNAP": Dot3(dst=ETHER.dst) / LLC() / SNAP() / TCP4,
        "LLC's own IP": Dot3(dst=ETHER.dst) / LLC(dsap=6, ssap=6, ctrl=3) / TCP4,
        "MPLS": ETHER / MPLS(label=16, s=0) / MPLS(label=17, s=1) / TCP4,
        "Ethernet over MPLS": ETHER / MPLS(label=16, s=1) / ETHER / TCP4,
        "Ethernet over MPLS, control word": ETHER / MPLS(label=16, s=1) / raw("00000001") / ETHER / TCP4,
        "PPPoE": ETHER / PPPoE(sessionid=1) / PPP(proto=0x21) / TCP4,
        "padding": ETHER / TCP4 / Padding(bytes(6)),
    }
    other = {
        "null": (0, raw("02000000") / TCP4),
        "null, other byte order": (0, raw("00000002") / TCP4),
        "PPP": (9, HDLC() / PPP(proto=0x21) / TCP4),
        "PPP, short protocol": (9, raw("21") / TCP4),
        "PPPoE link": (51, PPPoE(sessionid=1) / PPP(proto=0x21) / TCP4),
        "raw": (101, TCP4),
        "Cisco HDLC": (104, raw("0f000800") / TCP4),
        "802.11": (105, Dot11(type=2, subtype=0, FCfield="to_DS") / LLC() / SNAP() / TCP4),
        "SLL": (113, CookedLinux(proto=0x800) / TCP4),
        "radiotap, QoS": (127, RadioTap() / Dot11(type=2, subtype=8) / Dot11QoS() / LLC() / SNAP() / TCP4),
        "MPLS link": (219, MPLS(s=1) / TCP4),
        "IPv4 link": (228, TCP4),
        "NFLOG": (239, raw("02000000 08000100 08000101 05000a00 61000000 2c000900") / TCP4),
        "NFLOG, other byte order": (239, raw("02000000 00080001 08000101 002c0009") / TCP4),
        "SLL2": (276, CookedLinuxV2(proto=0x800) / TCP4),
    }
    six = {
        "IPv6": (1, ETHER / UDP6),
        "null, IPv6": (0, raw("1e000000") / UDP6),
        "raw, IPv6": (101, UDP6),
        "IPv6 link": (229, UDP6),
        "PPP, IPv6": (9, PPP(proto=0x57) / UDP6),
    }
    return [
        *(Case(name, bytes(frame), (TCP4_FLOW,)) for name, frame in ethernet.items()),
        *(Case(name, bytes(frame), (TCP4_FLOW,), link_type) for name, (link_type, frame) in other.items()),
        *(Case(name, bytes(frame), (UDP6_FLOW,), link_type) for name, (link_type, frame) in six.items()),
    ]


def headers() -> list[Case]:
    """One IP header that is not the simplest."""
    dns = UDP(sport=5353, dport=53) / Raw(b"query")
    first, later = IPv6ExtHdrFragment(m=1, offset=0), IPv6ExtHdrFragment(offset=64, nh=17)
    frames = {
        "IPv4 options": (IP(src="10.0.0.1", dst="10.0.0.2", options=[IPOption_NOP()] * 4) / TCP4[TCP], TCP4_FLOW, 44),
        "first fragment": (IP(src="10.0.0.1", dst="10.0.0.2", flags="MF") / TCP4[TCP], TCP4_FLOW, 40),
        "all IPv6 extension headers": (
            IPv6(src=UDP6.src, dst=UDP6.dst)
            / IPv6ExtHdrHopByHop()
            / IPv6ExtHdrRouting()
            / IPv6ExtHdrDestOpt()
            / AH(nh=17, payloadlen=4, icv=b"\0" * 12)
            / dns,
            UDP6_FLOW,
            53 + 3 * 8 + 24,
        ),
        "atomic fragment": (IPv6(src=UDP6.src, dst=UDP6.dst) / IPv6ExtHdrFragment() / dns, UDP6_FLOW, 61),
        "first IPv6 fragment": (IPv6(src=UDP6.src, dst=UDP6.dst) / first / dns, UDP6_FLOW, 61),
    }
    portless = {
        "later fragment": (IP(src="10.0.0.1", dst="10.0.0.2", frag=8, proto=6) / Raw(bytes(20)), TCP4_FLOW, 6, 40),
        "later IPv6 fragment": (IPv6(src=UDP6.src, dst=UDP6.dst) / later / Raw(bytes(16)), UDP6_FLOW, 17, 64),
        "ICMP": (IP(src="10.0.0.1", dst="10.0.0.2") / ICMP(), TCP4_FLOW, 1, 28),
        "a quoted packet is no tunnel": (
            IP(src="10.0.0.1", dst="10.0.0.2") / ICMP(type=3) / IPerror(bytes(TCP4)),
            TCP4_FLOW,
            1,
            68,
        ),
        "ESP is opaque": (IP(src="10.0.0.1", dst="10.0.0.2") / ESP(data=b"\0" * 8), TCP4_FLOW, 50, 36),
    }
    opaque = {
        "ESP in UDP": (4500, raw("00000001 00000001") / Raw(bytes(16)), Opaque.ESP),
        "IKE on ESP's port": (4500, raw("00000000 00000001") / Raw(bytes(16)), Opaque.NONE),
        "a NAT's entry kept alive": (4500, raw("ff"), Opaque.NONE),
        "WireGuard": (51820, raw("04000000 01000000") / Raw(bytes(24)), Opaque.WIREGUARD),
        "another's data on WireGuard's port": (51820, raw("04000001 01000000"), Opaque.NONE),
        "nothing on WireGuard's port": (51820, raw(""), Opaque.NONE),
    }
    sctp = IP(src="10.0.0.1", dst="10.0.0.2") / SCTP(sport=1, dport=2)
    return [
        *(Case(n, bytes(ETHER / frame), ((*flow[:5], size),)) for n, (frame, flow, size) in frames.items()),
        *(
            Case(
                n,
                bytes(ETHER / frame),
                ((*flow[:2], 0, 0, protocol, size),),
                opaque=Opaque.ESP if protocol == 50 else Opaque.NONE,
            )
            for n, (frame, flow, protocol, size) in portless.items()
        ),
        *(
            Case(
                name,
                bytes(ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=port, dport=dport) / inside),
                (("10.0.0.1", "10.0.0.2", port, dport, 17, 28 + len(inside)),),
                opaque=kind,
            )
            for name, (port, inside, kind) in opaque.items()
            for dport in (port, 33333)
        ),
        Case("SCTP", bytes(ETHER / sctp), (("10.0.0.1", "10.0.0.2", 1, 2, 132, 32),)),
        Case("ARP", bytes(ETHER / ARP(hwsrc=ETHER.src, psrc="10.0.0.1", pdst="10.0.0.2")), ()),
    ]


def tunnels() -> list[Case]:
    """An IP header inside another."""
    over_ip = {
        "IPIP": (4, TCP4),
        "MPLS in IP": (137, MPLS(s=1) / TCP4),
        "PIM Register": (103, raw("2100 0000 00000000") / TCP4),
        "EtherIP": (97, EtherIP() / ETHER / TCP4),
        "GRE": (47, GRE() / TCP4),
        "GRE with all fields": (47, GRE(chksum_present=1, key_present=1, seqnum_present=1) / TCP4),
        "NVGRE": (47, GRE(key_present=1, proto=0x6558) / ETHER / Dot1Q(vlan=5) / TCP4),
        "ERSPAN": (47, GRE(proto=0x88BE) / ETHER / TCP4),
        "ERSPAN II": (47, GRE(proto=0x88BE, seqnum_present=1) / ERSPAN_II() / ETHER / TCP4),
        "ERSPAN III": (47, GRE(proto=0x22EB, seqnum_present=1) / ERSPAN_III() / ETHER / TCP4),
        "WCCP": (47, GRE(proto=0x883E) / raw("00000000") / TCP4),
        "PPTP": (47, GRE_PPTP(seqnum_present=1, acknum_present=1) / HDLC() / PPP(proto=0x21) / TCP4),
    }
    gtp = GTP_U_Header(gtp_type=255, teid=1)
    teredo = {"bare": raw(""), "with origin": raw("0000 ff00 00000000"), "signed": raw("0001 0000 0000000000000000 00")}
    over_udp = {
        "VXLAN": (4789, VXLAN(vni=1, flags=8) / ETHER / TCP4),
        "VXLAN, Linux's port": (8472, VXLAN(vni=1, flags=8) / ETHER / TCP4),
        "VXLAN, Weave's port": (6784, VXLAN(vni=1, flags=8) / ETHER / TCP4),
        "VXLAN-GPE": (4790, raw("0c000001 00000100") / TCP4),
        "Geneve": (6081, GENEVE(vni=1) / ETHER / TCP4),
        "Geneve with options": (6081, GENEVE(vni=1, options=[GeneveOptions(data=b"\0" * 8)] * 2) / ETHER / TCP4),
        "GTP": (2152, gtp / TCP4),
        "GTP with a session container": (
            2152,
            GTP_U_Header(gtp_type=255, teid=1, E=1, next_ex=0x85) / GTPPDUSessionContainer() / TCP4,
        ),
        "MPLS in UDP": (6635, MPLS(s=1) / TCP4),
        "AYIYA": (5072, raw("41 52 11 04 00000000") / Raw(bytes(16 + 20)) / TCP4),
        "L2TP": (1701, L2TP(hdr=2, version=2, tunnel_id=1, session_id=1) / PPP(proto=0x21) / TCP4),
        "L2TP with length": (1701, raw("4002 0000 0001 0001") / PPP(proto=0x21) / TCP4),
    }
    cases = [
        (name, IP(src=OUTER.src, dst=OUTER.dst, proto=protocol) / inner, protocol, (0, 0), TCP4_FLOW)
        for name, (protocol, inner) in over_ip.items()
    ]
    cases += [
        (name, OUTER / UDP(sport=40000, dport=port) / inner, 17, (40000, port), TCP4_FLOW)
        for name, (port, inner) in over_udp.items()
    ]
    cases += [
        (f"Teredo {name}", OUTER / UDP(sport=3544, dport=40000) / start / UDP6, 17, (3544, 40000), UDP6_FLOW)
        for name, start in teredo.items()
    ]
    cases.append(("AH, then IPIP", OUTER / AH(nh=4, payloadlen=4, icv=b"\0" * 12) / TCP4, 4, (0, 0), TCP4_FLOW))
    cases.append(("6in4", OUTER / UDP6, 41, (0, 0), UDP6_FLOW))
    tunnelled = [
        Case(name, bytes(ETHER / packet), (("192.0.2.1", "192.0.2.2", *ports, protocol, len(packet)), flow))
        for name, packet, protocol, ports, flow in cases
    ]
    nested = OUTER / UDP(sport=40000, dport=8472) / VXLAN(flags=8) / ETHER / (OUTER6 / TCP4)
    return [
        *tunnelled,
        Case("4in6", bytes(ETHER / OUTER6 / TCP4), (("2001:db8::a", "2001:db8::b", 0, 0, 4, 80), TCP4_FLOW)),
        Case("6in6", bytes(ETHER / OUTER6 / UDP6), (("2001:db8::a", "2001:db8::b", 0, 0, 41, 93), UDP6_FLOW)),
        Case(
            "4in6 in VXLAN",
            bytes(ETHER / nested),
            (("192.0.2.1", "192.0.2.2", 40000, 8472, 17, len(nested)), TCP4_FLOW),
        ),
        Case(
            "VXLAN without its flag is payload",
            bytes(ETHER / OUTER / UDP(sport=40000, dport=4789) / Raw(bytes(8)) / ETHER / TCP4),
            (("192.0.2.1", "192.0.2.2", 40000, 4789, 17, 90),),
        ),
    ]


CASES: Final = (*plain(), *headers(), *tunnels())


def jumbogram() -> bytes:
    """An IPv6 packet whose payload length is 0."""
    frame = bytearray(bytes(ETHER / UDP6))
    frame[18:20] = struct.pack(">H", 0)
    return bytes(frame)
