"""The conntrack source against a real kernel."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from collector.metrics import Metrics
from collector.netlink import in_namespace
from collector.sources.conntrack import ConntrackSource
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


@pytest.fixture
def flows(network: Network) -> Iterator[ConntrackSource]:
    network.run("node", "conntrack", "-F")
    source = ConntrackSource(Metrics(), network.netns("node"))
    source.start()
    source.read(time.time_ns())
    yield source
    source.stop()


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
