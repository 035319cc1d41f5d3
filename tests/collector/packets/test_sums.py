"""Packets to the sums that the eBPF program would keep: flows, flags, payload, super-packets, what is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from collector.ebpf.layout import ACK, BEGINS, EGRESS, FIN, INGRESS, SYN, SYN_ACK
from collector.packets.oneway import FLOW, SUM
from collector.packets.ring import Captured
from collector.packets.sums import Points, merged, sums_of
from tests.collector.packets.blocks import WALL_NS, captured

POINTS = Points.of({3: "pod", 5: "node"})
ETHER: Any = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")


def tcp(flags: str, *, seq: int = 7, payload: int = 0, sport: int = 1000, dport: int = 80, **ip: Any) -> Packet:
    addresses = {"src": "10.0.0.1", "dst": "10.0.0.2", **ip}
    made: Packet = ETHER / IP(**addresses) / TCP(sport=sport, dport=dport, flags=flags, seq=seq) / Raw(b"x" * payload)
    return made


def summed(packets: Sequence[Packet | bytes], **how: Any) -> tuple[Any, Any, Counter[tuple[str, str]]]:
    missed: Counter[tuple[str, str]] = Counter()
    flows, sums = sums_of(captured(packets, **how), POINTS, WALL_NS, missed)
    return flows, sums, missed


def test_packets_of_one_direction_are_one_row() -> None:
    flows, sums, missed = summed([tcp("S"), tcp("A", seq=8), tcp("PA", seq=8, payload=100), tcp("FA", seq=108)])
    assert len(flows) == 1
    assert (flows["source_port"][0], flows["destination_port"][0], flows["direction"][0]) == (1000, 80, INGRESS)
    assert (sums["packets"][0], sums["bytes"][0]) == (4, 4 * 40 + 100)
    assert (sums["first"][0], sums["last"][0], sums["first_payload"][0]) == (1000, 4000, 3000)
    assert sums["flags"][0] == SYN | BEGINS | ACK | FIN
    assert sums["isn"][0] == 7
    assert not missed


def test_directions_and_interfaces_are_apart() -> None:
    flows, _, _ = summed([tcp("A"), tcp("A", src="10.0.0.2", dst="10.0.0.1", sport=80, dport=1000)])
    assert len(flows) == 2
    flows, sums, _ = summed([tcp("SA")], outgoing=True)
    assert (flows["direction"][0], sums["flags"][0]) == (EGRESS, SYN_ACK | BEGINS)
    flows, _, missed = summed([tcp("A")], ifindex=4)
    assert len(flows) == 0, "an interface that is no capture point"
    assert not missed


def test_what_is_captured_may_be_shorter_than_what_is_counted() -> None:
    _, sums, _ = summed([tcp("A", payload=1000)], snap=80)
    assert (sums["packets"][0], sums["bytes"][0], sums["first_payload"][0]) == (1, 1040, 1000)


def test_a_segment_too_big_to_say_how_long_it_is_counts_as_long_as_it_was() -> None:
    four = tcp("A", payload=70_000, len=0)
    six = ETHER / IPv6(src="fd00::1", dst="fd00::2", plen=0) / TCP(flags="A") / Raw(bytes(80_000))
    _, sums, _ = summed([four, six])
    assert sorted(sums["bytes"].tolist()) == [70_040, 80_060]
    assert (sums["first_payload"] > 0).all()


def test_a_tunnelled_packet_is_its_inner_flow_between_nodes_and_the_tunnels_at_a_pod() -> None:
    outer = ETHER / IP(src="172.30.0.1", dst="172.30.0.2") / UDP(sport=5, dport=8472) / VXLAN(vni=1)
    packet = outer / tcp("S", payload=3)
    flows, sums, _ = summed([packet], ifindex=5)
    assert (flows["destination_port"][0], sums["bytes"][0], sums["flags"][0]) == (80, 43, SYN | BEGINS)
    flows, sums, _ = summed([packet])
    assert (flows["destination_port"][0], sums["bytes"][0], sums["flags"][0]) == (8472, len(packet) - 14, 0)
    assert sums["first_payload"][0] > 0


def test_a_query_has_its_identifier_for_a_port_and_other_icmp_is_no_flow() -> None:
    ping = ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / ICMP(type=8, id=77)
    pong = ETHER / IP(src="10.0.0.2", dst="10.0.0.1") / ICMP(type=0, id=77)
    six = ETHER / IPv6(src="fd00::1", dst="fd00::2") / ICMPv6EchoRequest(id=78)
    error = ETHER / IP(src="10.0.0.9", dst="10.0.0.1") / ICMP(type=3, code=3) / bytes(tcp("A")[IP])
    flows, _, missed = summed([ping, pong, six, error])
    assert sorted(zip(flows["source_port"].tolist(), flows["destination_port"].tolist(), strict=True)) == [
        (0, 77),
        (77, 0),
        (78, 0),
    ]
    assert missed["packets", "icmp_control"] == 1


def test_a_later_fragment_is_counted_as_such() -> None:
    later = ETHER / IP(src="10.0.0.1", dst="10.0.0.2", proto=17, frag=100) / Raw(b"x" * 32)
    flows, _, missed = summed([later])
    assert len(flows) == 0
    assert missed == {("packets", "fragment"): 1, ("bytes", "fragment"): 52}


@pytest.mark.parametrize("octet", [0, 8, 129, 200])
def test_what_a_later_fragment_of_a_ping_holds_is_no_icmp_header(octet: int) -> None:
    four = ETHER / IP(src="10.0.0.1", dst="10.0.0.2", proto=1, frag=185) / Raw(bytes([octet]) * 48)
    six = ETHER / IPv6(src="fd00::1", dst="fd00::2") / IPv6ExtHdrFragment(nh=58, offset=181) / Raw(bytes([octet]) * 48)
    flows, _, missed = summed([four, six])
    assert len(flows) == 0
    assert missed["packets", "fragment"] == 2


def test_what_should_be_ip_and_is_none_is_counted_as_malformed() -> None:
    sound = bytes(tcp("A"))
    cut, of_no_version, too_short = sound[:30], bytearray(sound), bytearray(sound)
    of_no_version[14] = 0x95
    too_short[17] = 19
    arp = Ether() / ARP()
    flows, sums, missed = summed([sound, cut, bytes(of_no_version), bytes(too_short), arp])
    assert (len(flows), sums["packets"].tolist()) == (1, [1])
    assert missed == {("packets", "malformed"): 3, ("bytes", "malformed"): 16 + 40 + 40}


def test_a_tuple_that_is_used_again_is_another_generation() -> None:
    again = [tcp("S", seq=7), tcp("FA", seq=8), tcp("S", seq=999), tcp("A", seq=1000), tcp("S", seq=999)]
    flows, sums, _ = summed(again)
    assert flows["generation"].tolist() == [0, 1]
    assert sums["packets"].tolist() == [2, 3]
    assert sums["isn"].tolist() == [7, 999]


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_blocks_merge_to_what_one_block_would_be(cut: int) -> None:
    packets = [tcp("S", seq=7), tcp("FA", seq=8, payload=3), tcp("S", seq=999), tcp("A", seq=1000), tcp("FA", seq=1000)]
    whole = captured(packets)
    parts = []
    for rows in (slice(0, cut), slice(cut, None)):
        fields = ("start", "end", "size", "time", "ifindex", "hardware", "is_outgoing")
        part = Captured(whole.octets, **{name: getattr(whole, name)[rows] for name in fields})
        parts.append(sums_of(part, POINTS, WALL_NS, Counter()))
    flows, sums = merged(parts)
    expected_flows, expected_sums = merged([sums_of(whole, POINTS, WALL_NS, Counter())])
    assert (flows.dtype, sums.dtype) == (FLOW, SUM)
    assert flows.tobytes() == expected_flows.tobytes()
    assert sums.tobytes() == expected_sums.tobytes()
