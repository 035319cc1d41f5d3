"""What conntrack and eBPF tell alike of the same connections, against a real kernel."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from collector.metrics import Metrics
from collector.netlink import in_namespace
from collector.sources import Source
from tests.collector.flow_sources import SOURCES, read_until, started
from tests.collector.network import (
    Network,
    connected,
    echo_all,
    quiet_counts,
    records,
    serving,
    transfer,
)

pytestmark = pytest.mark.root

MOVED = """
table ip moved {
  chain prerouting {
    type nat hook prerouting priority dstnat - 1;
    ip daddr 10.96.0.10 udp dport 80 dnat to 10.2.0.3:8080
  }
}
"""
"""What is sent to the Service by UDP goes to another backend."""


@pytest.fixture(params=["conntrack", "ebpf"])
def flows(request: pytest.FixtureRequest, network: Network) -> Iterator[Source]:
    network.run("node", "conntrack", "-F")
    with started(SOURCES[request.param](Metrics(), network.netns("node"))) as flows:
        yield flows


def test_a_translated_connection_is_one_row_with_both_tuples(network: Network, flows: Source) -> None:
    """eBPF sees it at two pods' interfaces, and counts at the first."""
    before_ns = time.time_ns()
    with serving(network, "10.2.0.2", echo_all), connected(network, "10.96.0.10", 80) as sock:
        port = sock.getsockname()[1]
        transfer(sock, 100_000)
        (row,) = records(flows.read(time.time_ns()), 6)
    assert (row["src"], row["dst"], row["backend"], row["nat_src"]) == (
        "10.1.0.2",
        "10.96.0.10",
        "10.2.0.2",
        "10.1.0.2",
    )
    assert (row["src_port"], row["dst_port"], row["backend_port"], row["nat_src_port"]) == (port, 80, 8080, port)
    assert (row["opened"], row["closed"], row["outcome"]) == (1, 0, "open")
    assert before_ns <= row["start"] <= row["time"] <= time.time_ns()
    assert row["bytes"] >= 100_000 + row["packets"] * 40
    assert row["reply_bytes"] >= 100_000 + row["reply_packets"] * 40


def test_who_only_asks_whether_somebody_listens_is_not_refused(network: Network, flows: Source) -> None:
    """As HAProxy's health checks do: the handshake's last packet is kept back, and a reset goes in its place."""

    def asked() -> None:
        with socket.socket() as sock:
            sock.settimeout(60)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.connect(("10.96.0.10", 80))

    with serving(network, "10.2.0.2", echo_all):
        in_namespace(network.netns("client"), asked)
        rows = read_until(flows, lambda rows: any(row["outcome"] != "open" for row in rows))
    assert [(row["outcome"], row["packets"], row["reply_packets"]) for row in rows] == [("reset", 2, 1)]


def test_masquerade_shows_whom_the_backend_sees(network: Network, flows: Source) -> None:
    with serving(network, "10.2.0.2", echo_all), connected(network, "10.96.0.10", 81) as sock:
        transfer(sock, 10)
        (row,) = records(flows.read(time.time_ns()), 6)
    assert (row["src"], row["nat_src"]) == ("10.1.0.2", "10.2.0.1")


def test_what_goes_on_to_another_backend_is_another_connection(network: Network, flows: Source) -> None:
    """A backend has gone: kube-proxy takes it out of its rules and conntrack's table, and a client in UDP sends on."""
    server, client = (
        in_namespace(network.netns(name), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for name in ("server", "client")
    )

    def exchange() -> None:
        for _ in range(3):
            client.sendto(bytes(72), ("10.96.0.10", 80))
            server.sendto(bytes(22), server.recvfrom(100)[1])
            client.recv(100)

    network.run("server", "ip", "address", "add", "10.2.0.3/24", "dev", "eth0")
    rows = []
    with server, client:
        for sock in (server, client):
            sock.settimeout(60)
        server.bind(("10.2.0.2", 8080))
        exchange()
        rows += records(flows.read(time.time_ns()), 17)
        server.close()
        try:
            network.run("node", "nft", "-f", "-", stdin=MOVED)
            network.run("node", "conntrack", "-D", "-p", "udp")
            server = in_namespace(network.netns("server"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            with server:
                server.settimeout(60)
                server.bind(("10.2.0.3", 8080))
                exchange()
                rows += records(flows.read(time.time_ns()), 17)
        finally:
            network.run("node", "nft", "delete", "table", "ip", "moved")
            network.run("server", "ip", "address", "del", "10.2.0.3/24", "dev", "eth0")
    one, other = ([row for row in rows if row["backend"] == backend] for backend in ("10.2.0.2", "10.2.0.3"))
    assert len(one) + len(other) == len(rows)
    for told, closed in ((one, 1), (other, 0)):
        names = ("packets", "bytes", "reply_packets", "reply_bytes", "opened", "closed")
        assert [sum(row[name] for row in told) for name in names] == [3, 300, 3, 150, 1, closed]
        assert len({row["flow_id"] for row in told}) == 1
    assert one[0]["flow_id"] != other[0]["flow_id"]
    assert one[0]["src_port"] == other[0]["src_port"]


def test_ipv6_is_translated_alike(network: Network, flows: Source) -> None:
    with serving(network, "fd02::2", echo_all), connected(network, "fd96::10", 80) as sock:
        transfer(sock, 1000)
        (row,) = records(flows.read(time.time_ns()), 6)
    assert (row["src"], row["dst"], row["backend"]) == ("fd01::2", "fd96::10", "fd02::2")
    assert row["bytes"] >= 1000 + row["packets"] * 60


def test_bytes_and_packets_equal_those_of_the_pods_interface(network: Network, flows: Source) -> None:
    """All IP on the client's interface is connections; each packet has 14 bytes of Ethernet header more there."""
    before = quiet_counts(network, "client")
    flows.read(time.time_ns())
    with serving(network, "10.2.0.2", echo_all), connected(network, "10.96.0.10", 80) as sock:
        for size in (1, 3000, 250_000):
            transfer(sock, size)
    after = quiet_counts(network, "client")
    rows = records(flows.read(time.time_ns()), 6)
    (row,) = rows
    received_bytes, received_packets, sent_bytes, sent_packets = (after[i] - before[i] for i in (0, 1, 8, 9))
    assert (row["packets"], row["reply_packets"]) == (sent_packets, received_packets)
    assert (row["bytes"], row["reply_bytes"]) == (
        sent_bytes - 14 * sent_packets,
        received_bytes - 14 * received_packets,
    )


def test_an_unanswered_connection_is_told_once_after_three_seconds(network: Network, flows: Source) -> None:
    network.run(
        "server", "nft", "add table ip deaf; add chain ip deaf in { type filter hook input priority 0; policy drop; }"
    )
    sock = in_namespace(network.netns("client"), lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    try:
        with sock:
            sock.setblocking(False)
            assert sock.connect_ex(("10.96.0.10", 80)) != 0
            rows = read_until(flows, bool)
            now_ns = time.time_ns()
            for later_s in (2, 4, 5):
                rows += [row for row in records(flows.read(now_ns + later_s * 10**9), 6) if row["outcome"] != "open"]
    finally:
        network.run("server", "nft", "delete table ip deaf")
    assert [(row["outcome"], row["opened"]) for row in rows] == [("open", 1), ("no_reply", 0)]


def test_pings_are_told_apart_by_their_identifier(network: Network, flows: Source) -> None:
    raw = in_namespace(network.netns("client"), lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
    with raw:
        raw.settimeout(60)
        for identifier in (7, 8):
            checksum = 0xFFFF - 0x0800 - identifier
            raw.sendto(struct.pack("!BBHHH", 8, 0, checksum, identifier, 0), ("10.2.0.2", 0))
            raw.recv(100)
    rows = records(flows.finish(time.time_ns()), 1)
    assert [(row["dst"], row["dst_port"], row["backend_port"]) for row in rows] == [("10.2.0.2", 0, 0)] * 2
    assert sorted((row["src_port"], row["nat_src_port"]) for row in rows) == [(7, 7), (8, 8)]
    assert {(row["packets"], row["reply_packets"]) for row in rows} == {(1, 1)}
