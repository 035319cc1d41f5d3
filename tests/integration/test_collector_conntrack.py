"""The conntrack source against a real kernel."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from collector.metrics import Metrics
from collector.netlink import in_namespace
from collector.sources.conntrack import ConntrackSource
from tests.collector.flow_sources import read_until
from tests.collector.network import (
    Network,
    await_closed,
    connected,
    echo_all,
    quiet_counts,
    records,
    routed_network,
    serving,
    transfer,
)

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with routed_network() as network:
        yield network


@pytest.fixture
def flows(network: Network) -> Iterator[ConntrackSource]:
    network.run("node", "conntrack", "-F")
    source = ConntrackSource(Metrics(), network.netns("node"))
    source.start()
    source.read(time.time_ns())
    yield source
    source.stop()


def test_a_translated_connection_is_one_row_with_both_tuples(network: Network, flows: ConntrackSource) -> None:
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


def test_masquerade_shows_whom_the_backend_sees(network: Network, flows: ConntrackSource) -> None:
    with serving(network, "10.2.0.2", echo_all), connected(network, "10.96.0.10", 81):
        (row,) = records(flows.read(time.time_ns()), 6)
    assert (row["src"], row["nat_src"]) == ("10.1.0.2", "10.2.0.1")


def test_ipv6_is_translated_alike(network: Network, flows: ConntrackSource) -> None:
    with serving(network, "fd02::2", echo_all), connected(network, "fd96::10", 80) as sock:
        transfer(sock, 1000)
        (row,) = records(flows.read(time.time_ns()), 6)
    assert (row["src"], row["dst"], row["backend"]) == ("fd01::2", "fd96::10", "fd02::2")
    assert row["bytes"] >= 1000 + row["packets"] * 60


def test_bytes_and_packets_equal_those_of_the_pods_interface(network: Network, flows: ConntrackSource) -> None:
    """All IP on the client's interface is connections; each packet has 14 bytes of Ethernet header more there."""
    before = quiet_counts(network, "client")
    flows.read(time.time_ns())
    with serving(network, "10.2.0.2", echo_all), connected(network, "10.96.0.10", 80) as sock:
        for size in (1, 3000, 250_000):
            transfer(sock, size)
    after = quiet_counts(network, "client")
    (row,) = records(flows.read(time.time_ns()), 6)
    received_bytes, received_packets, sent_bytes, sent_packets = (after[i] - before[i] for i in (0, 1, 8, 9))
    assert (row["packets"], row["reply_packets"]) == (sent_packets, received_packets)
    assert (row["bytes"], row["reply_bytes"]) == (
        sent_bytes - 14 * sent_packets,
        received_bytes - 14 * received_packets,
    )


def test_deltas_of_a_long_connection_sum_to_its_whole(network: Network, flows: ConntrackSource) -> None:
    with serving(network, "10.2.0.2", echo_all):
        rows = []
        with connected(network, "10.96.0.10", 80) as sock:
            for _ in range(3):
                transfer(sock, 10_000)
                rows += records(flows.read(time.time_ns()), 6)
            assert records(flows.read(time.time_ns()), 6) == [], "nothing happened, so there is nothing to say"
        await_closed(network)
        rows += records(flows.read(time.time_ns()), 6)
    network.run("node", "conntrack", "-D", "-p", "tcp")
    rows += records(flows.finish(time.time_ns()), 6)
    assert [row["opened"] for row in rows] == [1, 0, 0, 0, 0]
    assert [row["closed"] for row in rows] == [0, 0, 0, 0, 1]
    assert [row["outcome"] for row in rows] == ["open", "open", "open", "closed", "open"]
    assert len({row["flow_id"] for row in rows}) == 1
    assert sum(row["bytes"] for row in rows) >= 30_000 + 40 * sum(row["packets"] for row in rows)


def test_a_connection_between_two_dumps_is_told_by_its_ending(network: Network, flows: ConntrackSource) -> None:
    with serving(network, "10.2.0.2", echo_all):
        for _ in range(20):
            with connected(network, "10.96.0.10", 80) as sock:
                transfer(sock, 10)
    await_closed(network)
    network.run("node", "conntrack", "-D", "-p", "tcp")
    rows = records(flows.read(time.time_ns()), 6)
    assert len(rows) == 20
    assert {(row["opened"], row["closed"], row["outcome"]) for row in rows} == {(1, 1, "closed")}
    assert all(row["start"] < row["time"] for row in rows)


def test_a_refused_connection_is_told_once(network: Network, flows: ConntrackSource) -> None:
    with pytest.raises(ConnectionRefusedError):
        connected(network, "10.96.0.10", 80)
    rows = records(flows.read(time.time_ns()), 6) + records(flows.read(time.time_ns()), 6)
    assert [(row["outcome"], row["opened"], row["closed"], row["reply_packets"]) for row in rows] == [
        ("refused", 1, 1, 1)
    ]


def test_a_reset_connection_is_told_once(network: Network, flows: ConntrackSource) -> None:
    def reset(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with serving(network, "10.2.0.2", reset), connected(network, "10.96.0.10", 80) as sock:
        sock.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    rows = records(flows.read(time.time_ns()), 6)
    network.run("node", "conntrack", "-D", "-p", "tcp")
    rows += records(flows.read(time.time_ns()), 6)
    assert [(row["outcome"], row["opened"], row["closed"]) for row in rows] == [("reset", 1, 0), ("open", 0, 1)]


def test_an_unanswered_connection_is_told_once_after_three_seconds(network: Network, flows: ConntrackSource) -> None:
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


def test_udp_has_both_tuples_and_ends_without_a_reply(network: Network, flows: ConntrackSource) -> None:
    sock = in_namespace(network.netns("client"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    deaf = in_namespace(network.netns("server"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with sock, deaf:
        deaf.bind(("10.2.0.2", 8080))
        sock.sendto(b"question", ("10.96.0.10", 80))
        time.sleep(0.1)
        (row,) = records(flows.read(time.time_ns()), 17)
        assert (row["dst"], row["backend"], row["packets"], row["bytes"]) == ("10.96.0.10", "10.2.0.2", 1, 36)
        network.run("node", "conntrack", "-D", "-p", "udp")
        (last,) = records(flows.read(time.time_ns()), 17)
    assert (row["outcome"], last["outcome"], last["closed"], last["bytes"]) == ("open", "no_reply", 1, 0)


def test_pings_are_told_apart_by_their_identifier(network: Network, flows: ConntrackSource) -> None:
    raw = in_namespace(network.netns("client"), lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
    with raw:
        raw.settimeout(60)
        for identifier in (7, 8):
            checksum = 0xFFFF - 0x0800 - identifier
            raw.sendto(struct.pack("!BBHHH", 8, 0, checksum, identifier, 0), ("10.2.0.2", 0))
            raw.recv(100)
    rows = records(flows.read(time.time_ns()), 1)
    assert [(row["dst"], row["dst_port"], row["backend_port"]) for row in rows] == [("10.2.0.2", 0, 0)] * 2
    assert sorted((row["src_port"], row["nat_src_port"]) for row in rows) == [(7, 7), (8, 8)]
    assert {(row["packets"], row["reply_packets"]) for row in rows} == {(1, 1)}
