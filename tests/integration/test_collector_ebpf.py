"""The eBPF source against a real kernel: the same connections as conntrack's, and what conntrack does not see."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from collector.metrics import Metrics
from collector.netlink import in_namespace
from collector.sources.ebpf import EbpfSource
from tests.collector.network import (
    Network,
    await_closed,
    connected,
    echo_all,
    records,
    serving,
    transfer,
)

pytestmark = pytest.mark.root

SETTLED_S = 0.3  # longer than the source waits after a connection's end


def settle(network: Network) -> None:
    """Wait until all connections have ended and the source has waited for what follows an end."""
    await_closed(network)
    time.sleep(SETTLED_S)


@pytest.fixture
def flows(network: Network) -> Iterator[EbpfSource]:
    source = EbpfSource(Metrics(), network.netns("node"), 4096)
    source.start()
    source.read(time.time_ns())
    yield source
    source.stop()


def test_deltas_of_a_long_connection_sum_to_its_whole(network: Network, flows: EbpfSource) -> None:
    with serving(network, "10.2.0.2", echo_all):
        rows = []
        with connected(network, "10.96.0.10", 80) as sock:
            for _ in range(3):
                transfer(sock, 10_000)
                rows += records(flows.read(time.time_ns()), 6)
            assert records(flows.read(time.time_ns()), 6) == [], "nothing happened, so there is nothing to say"
        settle(network)
        rows += records(flows.read(time.time_ns()), 6)
    assert [row["opened"] for row in rows] == [1, 0, 0, 0]
    assert [row["closed"] for row in rows] == [0, 0, 0, 1]
    assert [row["outcome"] for row in rows] == ["open", "open", "open", "closed"]
    assert len({row["flow_id"] for row in rows}) == 1
    assert sum(row["bytes"] for row in rows) >= 30_000 + 40 * sum(row["packets"] for row in rows)


def test_a_connection_between_two_reads_is_one_row(network: Network, flows: EbpfSource) -> None:
    with serving(network, "10.2.0.2", echo_all):
        for _ in range(20):
            with connected(network, "10.96.0.10", 80) as sock:
                transfer(sock, 10)
    settle(network)
    rows = records(flows.read(time.time_ns()), 6)
    assert len(rows) == 20
    assert {(row["opened"], row["closed"], row["outcome"]) for row in rows} == {(1, 1, "closed")}
    assert {row["backend"] for row in rows} == {"10.2.0.2"}
    assert all(row["start"] < row["time"] for row in rows)


def test_a_source_port_used_again_is_another_connection(network: Network, flows: EbpfSource) -> None:
    def echo(connection: socket.socket) -> None:
        with contextlib.suppress(ConnectionResetError):
            echo_all(connection)

    with serving(network, "10.2.0.2", echo):
        for _ in range(3):
            sock = in_namespace(network.netns("client"), socket.socket)
            sock.settimeout(60)
            with sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no TIME_WAIT
                sock.bind(("10.1.0.2", 23456))
                sock.connect(("10.96.0.10", 80))
                transfer(sock, 10)
        settle(network)
        rows = records(flows.read(time.time_ns()), 6)
    assert [(row["src_port"], row["opened"], row["closed"], row["outcome"]) for row in rows] == [
        (23456, 1, 1, "reset")
    ] * 3
    assert len({row["flow_id"] for row in rows}) == 3
    assert len({(row["bytes"], row["reply_bytes"]) for row in rows}) == 1


def test_a_refused_connection_is_told_once(network: Network, flows: EbpfSource) -> None:
    with pytest.raises(ConnectionRefusedError):
        connected(network, "10.96.0.10", 80)
    settle(network)
    rows = records(flows.read(time.time_ns()), 6) + records(flows.read(time.time_ns()), 6)
    assert [(row["outcome"], row["opened"], row["closed"], row["reply_packets"]) for row in rows] == [
        ("refused", 1, 1, 1)
    ]
    assert rows[0]["backend"] == "10.2.0.2"


def test_a_reset_connection_is_told_once(network: Network, flows: EbpfSource) -> None:
    def reset(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with serving(network, "10.2.0.2", reset), connected(network, "10.96.0.10", 80) as sock:
        sock.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    settle(network)
    rows = records(flows.read(time.time_ns()), 6)
    assert [(row["outcome"], row["opened"], row["closed"]) for row in rows] == [("reset", 1, 1)]


def test_what_the_node_drops_is_seen_though_conntrack_never_confirms_it(network: Network, flows: EbpfSource) -> None:
    network.run(
        "node", "nft", "add table ip cut; add chain ip cut f { type filter hook forward priority 0; policy drop; }"
    )
    sock = in_namespace(network.netns("client"), lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    try:
        with sock:
            sock.setblocking(False)
            dialled_ns = time.time_ns()
            assert sock.connect_ex(("10.2.0.2", 8080)) != 0
            time.sleep(0.3)
            assert records(flows.read(dialled_ns), 6) == [], "the backend may still be told"
            now_ns = time.time_ns()
            (row,) = records(flows.read(now_ns + 10**9), 6)
            (last,) = records(flows.read(now_ns + 4 * 10**9), 6)
    finally:
        network.run("node", "nft", "delete table ip cut")
    assert (row["src"], row["dst"], row["reply_packets"]) == ("10.1.0.2", "10.2.0.2", 0)
    assert row["packets"] >= 1, "the first SYN, and those that the kernel sends after it"
    assert (row["outcome"], last["outcome"]) == ("open", "no_reply")


def test_one_packet_each_way_keeps_its_service(network: Network, flows: EbpfSource) -> None:
    """As a DNS question: the way there knows no NAT yet, the way back does."""
    server = in_namespace(network.netns("server"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    client = in_namespace(network.netns("client"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with server, client:
        server.settimeout(60)
        client.settimeout(60)
        server.bind(("10.2.0.2", 8080))
        client.sendto(b"question", ("10.96.0.10", 80))
        _, peer = server.recvfrom(100)
        server.sendto(b"answer", peer)
        client.recv(100)
        (row,) = records(flows.read(time.time_ns()), 17)
        (last,) = records(flows.read(time.time_ns() + 200 * 10**9), 17)
    assert (row["dst"], row["backend"], row["nat_src"]) == ("10.96.0.10", "10.2.0.2", "10.1.0.2")
    assert (row["packets"], row["bytes"], row["reply_packets"], row["reply_bytes"]) == (1, 36, 1, 34)
    assert (row["opened"], row["outcome"], last["outcome"], last["closed"]) == (1, "open", "open", 1)


def test_fragments_are_of_the_flow_of_their_first(network: Network, flows: EbpfSource) -> None:
    server = in_namespace(network.netns("server"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    client = in_namespace(network.netns("client"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with server, client:
        server.settimeout(60)
        client.settimeout(60)
        server.bind(("10.2.0.2", 8080))
        client.sendto(bytes(5000), ("10.96.0.10", 80))
        server.recv(5000)
        (row,) = records(flows.finish(time.time_ns()), 17)
    assert (row["packets"], row["bytes"]) == (4, 5000 + 8 + 4 * 20)
