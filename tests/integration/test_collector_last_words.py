"""What a pod says just before its interface goes is read by the captures beside flows. Needs root."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from collector.metrics import Metrics
from collector.netlink import in_namespace
from collector.packets.ring import Captured
from collector.schema import FLOWS
from collector.sources import Columns, packets
from collector.sources.dns import DnsSource
from collector.sources.heads import HeadSource
from tests.collector.network import Network, namespace

pytestmark = pytest.mark.root

ETHER = Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01")


class NoFlows:
    """A source that tells nothing."""

    table = "flows"

    def start(self) -> None:
        pass

    def read(self, now_ns: int) -> Columns:
        return {name: np.empty(0, kind) for name, kind in FLOWS.columns_of(1).items()}

    finish = read
    stop = start


@contextlib.contextmanager
def pod_of() -> Iterator[Network]:
    """A node and a pod on it."""
    with namespace() as node, namespace() as pod:
        network = Network({"node": node, "pod": pod})
        network.run("node", "ip", "link", "add", "pod1", "type", "veth", "peer", "eth0", "netns", str(pod))
        network.run("node", "ip", "link", "set", "pod1", "up")
        network.run("pod", "ip", "link", "set", "eth0", "up")
        yield network


def said(network: Network, packet: Packet) -> None:
    with in_namespace(network.netns("pod"), lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)) as sock:
        sock.bind(("eth0", 0))
        sock.send(bytes(ETHER / IP(src="10.9.0.2", dst="10.96.0.10") / packet))


def test_packets_that_wait_as_their_interface_goes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interfaces are looked at before the ring hands over what came in the meantime."""
    monkeypatch.setattr(packets, "_LINKS_S", 0.0)
    words = iter((b"a word", b"the last word"))
    with pod_of() as network:
        source = packets.PacketSource(Metrics(), network.netns("node"))
        blocks = source._ring.blocks

        def late(timeout_s: float) -> Iterator[Captured]:
            word = next(words, b"")
            if word:
                said(network, UDP(sport=40000, dport=7000) / word)
            if word == b"the last word":
                network.run("node", "ip", "link", "delete", "pod1")
                source._kinds = source._look()
                time.sleep(0.2)
            return blocks(timeout_s)

        monkeypatch.setattr(source._ring, "blocks", late)
        source.start()
        try:
            time.sleep(2.0)
            columns = source.finish(time.time_ns())
        finally:
            source.stop()
    is_own = np.asarray(columns["dst_port"]) == 7000
    assert np.asarray(columns["packets"])[is_own].sum() == 2


@pytest.mark.parametrize("what", ["dns", "heads"])
def test_what_a_pod_said_before_its_interface_went_is_read(what: str) -> None:
    metrics = Metrics()
    with pod_of() as network:
        netns = network.netns("node")
        source = DnsSource(metrics, netns) if what == "dns" else HeadSource(NoFlows(), metrics, netns)
        source.start()
        try:
            source.read(time.time_ns())
            if what == "dns":
                said(network, UDP(sport=40000, dport=53) / DNS(id=7, qd=DNSQR(qname="shop.example")))
            else:
                said(network, TCP(sport=40000, dport=80, flags="PA") / Raw(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"))
            network.run("node", "ip", "link", "delete", "pod1")
            time.sleep(0.5)
            for _ in range(12):  # a head waits for its flow
                source.read(time.time_ns())
        finally:
            source.stop()
    family, result = ("dns_messages_total", "read") if what == "dns" else ("heads_total", "unmatched")
    assert metrics.value(family, result=result) == 1
