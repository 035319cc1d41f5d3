"""Whatever passes an interface as IP is in a row of flows or among the missed, against a real kernel."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import time
from collections.abc import Callable

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from collector.ebpf.layout import MISSED_REASONS
from collector.metrics import Metrics
from collector.netlink import in_namespace
from collector.sources import Source
from tests.collector.flow_sources import SOURCES
from tests.collector.network import Network

pytestmark = pytest.mark.root

FRAMES = 3_000
UNHEARD = """
table inet unheard {
  chain prerouting {
    type filter hook prerouting priority raw - 1;
    iifname "v1" drop
  }
  chain output {
    type filter hook output priority raw - 1;
    oifname "v1" drop
  }
}
"""
"""What the pod sends is all that there is: the node answers nothing, not even what it refuses before its rules."""
FOUR, SIX = IP(src="10.1.0.2", dst="10.2.0.2"), IPv6(src="fd01::2", dst="fd02::2")
DATA = Raw(bytes(40))
KINDS: list[Packet] = [
    *(head / transport / DATA for head in (FOUR, SIX) for transport in (TCP(), UDP(), SCTP())),
    *(head / DATA for head in (IP(src="10.1.0.2", dst="10.2.0.2", proto=number) for number in (33, 47, 50, 136, 253))),
    *(FOUR / ICMP(type=number) / DATA for number in (0, 3, 8, 13)),
    FOUR / FOUR / UDP() / DATA,
    FOUR / SIX / UDP() / DATA,
    IP(src="10.1.0.2", dst="10.2.0.2", options=[IPOption_NOP()] * 8) / UDP() / DATA,
    *(
        IP(src="10.1.0.2", dst="10.2.0.2", proto=17, flags=flags, frag=at) / DATA
        for flags, at in ((1, 0), (1, 5), (0, 9))
    ),
    SIX / ICMPv6EchoRequest() / DATA,
    SIX / ICMPv6ND_NS(),
    IPv6(src="fd01::2", dst="fd02::2", nh=59),
    SIX / IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting() / IPv6ExtHdrDestOpt() / UDP() / DATA,
    SIX / AH() / TCP() / DATA,
    *(SIX / IPv6ExtHdrFragment(nh=17, m=more, offset=at, id=7) / DATA for more, at in ((1, 0), (1, 5), (0, 9))),
]


def hardware(network: Network, name: str, device: str) -> str:
    command = ["nsenter", f"--net={network.netns(name)}", "ip", "-j", "link", "show", device]
    (link,) = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return str(link["address"])


def odd(packet: bytes, chance: random.Random) -> bytes:
    """The packet, or with its end cut off, or with octets changed that headers have."""
    changed = bytearray(packet)
    for _ in range(chance.choice((0, 0, 1, 3))):
        changed[chance.randrange(min(len(changed), 60))] = chance.randrange(256)
    return bytes(changed if chance.random() < 0.7 else changed[: chance.randrange(1, len(changed))])


@pytest.mark.parametrize("source", ["ebpf", "packets"])
def test_every_packet_is_in_a_row_or_missed(network: Network, source: str) -> None:
    metrics, chance = Metrics(), random.Random(source)
    flows: Source = SOURCES[source](metrics, network.netns("node"))
    ether = Ether(src=hardware(network, "client", "eth0"), dst=hardware(network, "node", "v1"))
    kinds = [(bytes(ether / kind)[:14], bytes(kind)) for kind in KINDS]
    sock = in_namespace(network.netns("client"), lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
    network.run("node", "nft", "-f", "-", stdin=UNHEARD)
    told = 0

    def missed() -> int:
        return sum(
            int(metrics.value("missed_packets_total", reason=reason)) for reason in (*MISSED_REASONS, "ring_full")
        )

    def take(read: Callable[[int], object]) -> None:
        nonlocal told
        columns = read(time.time_ns())
        told += int(columns["packets"].sum() + columns["reply_packets"].sum())  # type: ignore[index]

    try:
        with sock:
            sock.bind(("eth0", 0))
            flows.start()
            for number in range(FRAMES):
                head, packet = kinds[number % len(kinds)]
                sock.send(head + odd(packet, chance))
                if number % 500 == 0:
                    take(flows.read)
            deadline = time.monotonic() + 60
            while told + missed() < FRAMES and time.monotonic() < deadline:
                time.sleep(0.1)
                take(flows.finish)
    finally:
        flows.stop()
        network.run("node", "nft", "delete", "table", "inet", "unheard")
    assert told + missed() == FRAMES
    assert min(told, int(metrics.value("missed_packets_total", reason="malformed"))) > FRAMES / 20
