"""A capture of a million packets to columns and to flows, on one core, against scapy and dpkt in the same run.

`python tests/bench/bench_packets.py [PACKETS]`. The capture is a mix of TCP and UDP over IPv4 and IPv6, tagged and in
VXLAN; scapy's PcapReader and dpkt dissect a slice of it, and their rates are scaled. dpkt reads outer headers alone,
as it knows no VXLAN. Prints one JSON line a figure.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import dpkt
import numpy as np
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw
from scapy.utils import PcapReader

from collector.sources import pcap
from tests.bench.figures import show
from tests.collector.packets import captures

SLICE = 5_000
FLOWS = 10_000
TARGET_TIMES_SCAPY = 200
TARGET_TIMES_DPKT = 15


def main() -> None:
    packets = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        whole, part = Path(folder, "whole.pcap"), Path(folder, "part.pcap")
        frames = mix(packets)
        whole.write_bytes(captures.pcap(frames))
        part.write_bytes(captures.pcap(frames[:SLICE]))
        data = whole.read_bytes()

        decode_rate = packets / seconds(lambda: sum(block.packets for block in pcap.decoded(data, "")))
        flows_rate = packets / seconds(lambda: pcap.read(whole))
        scapy_rate = SLICE / seconds(lambda: dissect(part))
        dpkt_rate = SLICE / seconds(lambda: dissect_by_dpkt(part))

    against = {"scapy_packets_per_second": round(scapy_rate), "target_times_scapy": TARGET_TIMES_SCAPY}
    against_dpkt = {"dpkt_packets_per_second": round(dpkt_rate), "target_times_dpkt": TARGET_TIMES_DPKT}
    show("packets_decoded_per_second", decode_rate, "packets/s", against)
    show("packets_decoded_times_scapy", decode_rate / scapy_rate, "times", against)
    show("packets_decoded_times_dpkt", decode_rate / dpkt_rate, "times", against_dpkt)
    show("packets_to_flows_per_second", flows_rate, "packets/s", "both layers grouped, 10,000 flows, from the file")


def mix(packets: int) -> list[bytes]:
    """40 % TCP, 20 % UDP, 15 % TCP over IPv6, 10 % with a VLAN tag, 15 % in VXLAN; snapped at 128 bytes."""
    ether = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
    tcp4 = IP(src="10.0.0.1", dst="10.0.0.2") / TCP(dport=443) / Raw(bytes(60))
    tcp6 = IPv6(src="2001:db8::1", dst="2001:db8::2") / TCP(dport=443) / Raw(bytes(60))
    tunnel = IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=40000, dport=8472) / VXLAN(flags=8, vni=1)
    shapes: list[tuple[int, Packet, int]] = [  # of 20 packets, the frame, where its source port lies
        (8, ether / tcp4, 34),
        (4, ether / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(dport=53) / Raw(bytes(60)), 34),
        (3, ether / tcp6, 54),
        (2, ether / Dot1Q(vlan=7) / tcp4, 38),
        (3, ether / tunnel / ether / tcp4, 84),
    ]
    kinds = [(bytes(frame)[:128], at) for count, frame, at in shapes for _ in range(count)]
    choice = np.random.default_rng(1)
    drawn = choice.integers(0, len(kinds), packets).tolist()
    ports = choice.integers(1024, 1024 + FLOWS // len(shapes), packets).tolist()
    return [
        kinds[kind][0][: kinds[kind][1]] + port.to_bytes(2, "big") + kinds[kind][0][kinds[kind][1] + 2 :]
        for kind, port in zip(drawn, ports, strict=True)
    ]


def dissect(path: Path) -> int:
    with PcapReader(str(path)) as reader:
        return sum(1 for _ in reader)


def dissect_by_dpkt(path: Path) -> int:
    """The ends of each packet's flow, as its own examples find them."""
    found = 0
    with path.open("rb") as file:
        for _, frame in dpkt.pcap.Reader(file):
            network = dpkt.ethernet.Ethernet(frame).data
            if isinstance(network, dpkt.ip.IP | dpkt.ip6.IP6):
                transport = network.data
                ports = (transport.sport, transport.dport) if hasattr(transport, "sport") else (0, 0)
                found += bool((network.src, network.dst, *ports))
    return found


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """The median of a few runs."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return median(times)


if __name__ == "__main__":
    main()
