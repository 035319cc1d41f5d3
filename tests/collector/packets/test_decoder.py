"""Every kind of header, one frame each; and what is malformed, counted by its reason."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable

import numpy as np
import pytest
from scapy.contrib.geneve import GENEVE
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import GRE, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet

from collector.packets import decoder
from collector.packets.decoder import HANDLERS, Decoded, decode
from collector.packets.frames import Frames, Headers, Packets
from collector.packets.kinds import LINK_TYPES, Kind, Tunnel
from collector.packets.octets import Octets
from tests.collector.packets import frames
from tests.collector.packets.frames import CASES, ETHER, OUTER, TCP4, Case


def decoded(data: bytes, link_type: int = 1) -> Decoded:
    return decode(Octets(data), np.array([0]), np.array([len(data)]), LINK_TYPES[[link_type]])


def rows(headers: Headers) -> list[frames.Flow]:
    return [
        (address(src_hi, src_lo), address(dst_hi, dst_lo), *rest)
        for src_hi, src_lo, dst_hi, dst_lo, *rest in zip(
            *(getattr(headers, name).tolist() for name in Headers.__slots__), strict=True
        )
    ]


def address(hi: int, lo: int) -> str:
    found = ipaddress.IPv6Address(hi << 64 | lo)
    return str(found.ipv4_mapped or found)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_outer_and_inner_flow_of_each_encapsulation(case: Case) -> None:
    found = decoded(case.frame, case.link_type)
    assert rows(found.outer) == list(case.flows[:1])
    assert rows(found.inner) == list(case.flows[-1:])
    assert found.unread == {}
    assert found.no_flow == ({} if case.flows else {"not_ip": 1})


@pytest.mark.parametrize("case", [case for case in CASES if case.flows], ids=lambda case: case.name)
def test_what_is_around_and_in_each_is_known(case: Case) -> None:
    carriage = decoded(case.frame, case.link_type).carriage
    assert carriage.opaque.tolist() == [case.opaque]
    assert carriage.overhead.tolist() == [case.flows[0][-1] - case.flows[-1][-1]]
    is_tunnelled = len(case.flows) > 1
    named = {"AH, then IPIP": "IPIP", "6in4": "SIX_IN_FOUR", "4in6": "FOUR_IN_SIX", "6in6": "SIX_IN_SIX"}
    named |= {"4in6 in VXLAN": "FOUR_IN_SIX", "PPTP": "GRE", "VXLAN-GPE": "VXLAN_GPE", "NVGRE": "GRE"}
    word = named.get(case.name, case.name.replace(",", " ").split(" ")[0].upper())
    assert carriage.tunnel.tolist() == [Tunnel[word] if is_tunnelled else Tunnel.NONE]


@pytest.mark.parametrize(
    ("inside", "vni"),
    [
        (UDP(sport=1, dport=4789) / VXLAN(flags=8, vni=0xABCDEF) / ETHER / TCP4, 0xABCDEF),
        (UDP(sport=1, dport=6081) / GENEVE(vni=0xABCDEF) / ETHER / TCP4, 0xABCDEF),
        (GRE(key_present=1, key=0xABCDEF01, proto=0x6558) / ETHER / TCP4, 0xABCDEF),
        (GRE(key_present=1, key=7) / TCP4, -1),
        (GRE(proto=0x6558) / ETHER / TCP4, -1),
        (UDP(sport=1, dport=4789) / VXLAN(flags=8, vni=5) / ETHER / OUTER / TCP4, -1),
        (UDP(sport=1, dport=4789) / VXLAN(flags=8, vni=5) / ETHER / OUTER / GRE() / TCP4, -1),
        (UDP(sport=1, dport=9) / TCP4, -1),
    ],
)
def test_the_innermost_tunnel_gives_the_network(inside: Packet, vni: int) -> None:
    protocol = 47 if isinstance(inside, GRE) else 17
    frame = bytes(ETHER / IP(src=OUTER.src, dst=OUTER.dst, proto=protocol) / inside)
    assert decoded(frame).carriage.vni.tolist() == [vni]


def test_packets_of_different_kinds_are_decoded_together_as_they_are_alone() -> None:
    data = b"".join(case.frame for case in CASES)
    ends = np.cumsum([len(case.frame) for case in CASES])
    starts = ends - [len(case.frame) for case in CASES]
    found = decode(Octets(data), starts, ends, LINK_TYPES[[case.link_type for case in CASES]])
    assert rows(found.outer) == [case.flows[0] for case in CASES if case.flows]
    assert rows(found.inner) == [case.flows[-1] for case in CASES if case.flows]


def test_every_kind_of_header_has_a_function_and_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(HANDLERS) == set(Kind) - {Kind.PAYLOAD}
    met: set[Kind] = set()

    def noted(kind: Kind, function: Callable[[Frames, Packets], None]) -> Callable[[Frames, Packets], None]:
        def note(f: Frames, who: Packets) -> None:
            met.add(kind)
            function(f, who)

        return note

    monkeypatch.setattr(decoder, "HANDLERS", {kind: noted(kind, function) for kind, function in HANDLERS.items()})
    for case in CASES:
        decoded(case.frame, case.link_type)
    assert met == set(HANDLERS) - {Kind.UNKNOWN_LINK}


def patched(frame: Packet, at: int, value: str) -> bytes:
    data = bytearray(bytes(frame))
    data[at : at + len(value) // 2] = bytes.fromhex(value)
    return bytes(data)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (bytes(ETHER)[:13], "link_cut"),
        (bytes(ETHER / TCP4)[:33], "ip_cut"),
        (bytes(ETHER / frames.UDP6)[:53], "ip_cut"),
        (patched(ETHER / TCP4, 14, "55"), "ip_version"),
        (patched(ETHER / frames.UDP6, 14, "45"), "ip_version"),
        (patched(ETHER / TCP4, 14, "44"), "ip_length"),
        (patched(ETHER / TCP4, 16, "0013"), "ip_length"),
    ],
)
def test_without_a_sound_ip_header_a_packet_is_no_flow(frame: bytes, reason: str) -> None:
    found = decoded(frame)
    assert found.no_flow == {reason: 1}
    assert rows(found.outer) == []


def test_a_link_type_that_nobody_knows_is_counted() -> None:
    assert decoded(bytes(ETHER / TCP4), link_type=65_000).no_flow == {"link_type": 1}


def test_a_packet_cut_before_its_ports_counts_under_port_0() -> None:
    found = decoded(bytes(ETHER / TCP4)[:37])
    assert rows(found.inner) == [("10.0.0.1", "10.0.0.2", 0, 0, 6, 40)]
    assert found.unread == {"transport_cut": 1}


def test_ports_are_not_read_from_padding() -> None:
    bare = IP(src="10.0.0.1", dst="10.0.0.2", proto=6)
    found = decoded(bytes(ETHER / bare) + b"\1" * 26)
    assert rows(found.inner) == [("10.0.0.1", "10.0.0.2", 0, 0, 6, 20)]


def test_a_tunnel_cut_short_counts_as_the_last_whole_header() -> None:
    tunnel = ETHER / OUTER / UDP(sport=1, dport=4789) / VXLAN(flags=8) / ETHER / TCP4
    found = decoded(bytes(tunnel)[:-21])
    assert rows(found.inner) == rows(found.outer) == [("192.0.2.1", "192.0.2.2", 1, 4789, 17, 90)]
    assert found.unread == {"ip_cut": 1}


def test_a_packet_without_its_length_is_counted_with_no_bytes() -> None:
    assert rows(decoded(frames.jumbogram()).inner) == [("2001:db8::1", "2001:db8::2", 5353, 53, 17, 0)]


def test_endless_headers_are_followed_so_far_and_no_further() -> None:
    labels = struct.pack(">I", 16 << 12) * 1000
    assert decoded(bytes(Ether(dst=ETHER.dst, type=0x8847)) + labels).no_flow == {"too_deep": 1}
