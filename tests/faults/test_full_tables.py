"""Tables and buffers of a real kernel that are too small: what is told and counted is what was sent."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from collector.flowtable import GRACE_DUMPS
from collector.metrics import Metrics
from collector.netlink import in_namespace
from collector.sources import Columns, Source, conntrack
from collector.sources.conntrack import ConntrackSource
from collector.sources.ebpf import EbpfSource
from tests.collector.flow_sources import started
from tests.collector.generator import FIRST_PORT, IP_BYTES, Generator
from tests.collector.network import (
    Network,
    await_closed,
    connected,
    echo_all,
    namespace,
    quiet_counts,
    routed_network,
    serving,
    transfer,
)
from tests.faults.counts import often, tell

pytestmark = pytest.mark.root

QUIET = "table inet quiet { chain input { type filter hook input priority 0; meta l4proto udp drop; }; }"
ROUNDS = often(3, 20)
TINY_BYTES = 4096
TCP, UDP = 6, 17
SENT, PLACES = 200, 64


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with routed_network() as made:
        made.run("server", "nft", "-f", "-", stdin=QUIET)
        yield made


def of_generator(columns: Columns) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which rows are of the generator, and none of the kernel's own chatter."""
    ours: np.ndarray[tuple[int], np.dtype[np.bool_]] = np.asarray(columns["src_port"]) >= FIRST_PORT
    return ours


def test_endings_that_did_not_fit_are_told_by_the_next_dump(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """The buffer for events is tiny and all connections end at once: the overrun is counted, and no byte is missing."""
    monkeypatch.setattr(conntrack, "_EVENT_BUFFER_BYTES", TINY_BYTES)
    network.run("node", "conntrack", "-F")
    metrics = Metrics()
    source = ConntrackSource(metrics, network.netns("node"))
    source.start()
    flows = np.arange(1_000)
    sent = told = ended = 0
    try:
        with Generator(network) as generator:
            for _ in range(ROUNDS):
                overruns = metrics.value("netlink_overruns_total")
                generator.send(flows)
                sent += len(flows)
                quiet_counts(network, "client")
                for number in range(GRACE_DUMPS + 2):  # an ending may be told a moment after the last dump
                    if number == 1:
                        network.run("node", "conntrack", "-F")
                    columns = source.read(time.time_ns())
                    ours = of_generator(columns)
                    told += int(np.asarray(columns["packets"])[ours].sum())
                    ended += int(np.asarray(columns["closed"])[ours].sum())
                assert metrics.value("netlink_overruns_total") > overruns, "the buffer was too small"
    finally:
        source.stop()
    tell(f"{ROUNDS} overruns: sent {sent}, told {told}, unexplained {sent - told}; ended {ended}")
    assert told == sent
    assert ended == sent


def told_by(source: Source, protocol: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Packets and bytes of a protocol in flows, of both directions."""
    told = np.zeros(2, np.int64)
    for columns in (source.read(time.time_ns()), source.finish(time.time_ns())):
        rows = np.asarray(columns["protocol"]) == protocol
        told += [sum(int(columns[way + name][rows].sum()) for way in ("", "reply_")) for name in ("packets", "bytes")]
    return told


def missed_by(metrics: Metrics) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Packets and bytes that the full map had no place for."""
    return np.array([metrics.value(f"missed_{what}_total", reason="table_full") for what in ("packets", "bytes")], int)


def test_a_packet_between_two_pods_that_no_map_has_room_for_is_missed_once(network: Network) -> None:
    """It passes the interfaces of both, and is in a flow or missed: to the packet and the byte."""
    metrics = Metrics()
    told = np.zeros(2, np.int64)
    with started(EbpfSource(metrics, network.netns("node"), 1_024)) as source, Generator(network) as generator:
        for _ in range(ROUNDS):
            generator.send(np.arange(3_000))
            quiet_counts(network, "client")
            told += told_by(source, UDP)
    sent, missed = 3_000 * ROUNDS, missed_by(metrics)
    tell(
        f"{ROUNDS} full maps: sent {sent}, told {told[0]}, missed {missed[0]}, unexplained {sent - told[0] - missed[0]}"
    )
    assert told[0] > 0
    assert missed[0] > 0, "the map was meant to be too small"
    assert (told + missed).tolist() == [sent, sent * IP_BYTES]


@contextlib.contextmanager
def all_of_tcp_is_told_or_missed(network: Network, places: int) -> Iterator[Callable[[], None]]:
    """Gives what reads a map of so many places; afterwards all at the client's interface was in a flow or missed."""
    metrics = Metrics()
    told = np.zeros(2, np.int64)

    def read() -> None:
        nonlocal told
        told += told_by(source, TCP)

    before = quiet_counts(network, "client")
    with started(EbpfSource(metrics, network.netns("node"), places)) as source:
        yield read
        await_closed(network)
        after = quiet_counts(network, "client")
        read()
    missed = missed_by(metrics)
    packets, size = (sum(after[way + what] - before[way + what] for way in (0, 8)) for what in (1, 0))
    assert told[0] > 0
    assert missed[0] > 0, "the map was meant to be too small"
    assert (told + missed).tolist() == [packets, size - 14 * packets]


@pytest.mark.parametrize("places", [1, 64])
def test_of_a_connection_through_a_service_each_packet_is_told_or_missed(network: Network, places: int) -> None:
    """Both ways; of the connection that gets the last place too, whose other interface has none."""
    with all_of_tcp_is_told_or_missed(network, places), serving(network, "10.2.0.2", echo_all):
        for _ in range(40):
            with connected(network, "10.96.0.10", 80) as sock:
                transfer(sock, 10)


def test_where_the_answerer_takes_the_last_place_its_packets_are_missed_where_the_opener_is(network: Network) -> None:
    """It speaks first after each read, and the opener's interface, where the connection counts, has no place."""
    turn = threading.Semaphore(0)

    def speak(connection: socket.socket) -> None:
        for _ in range(2):
            connection.sendall(connection.recv(100))
            turn.acquire()
            connection.sendall(b"unasked")

    with (
        all_of_tcp_is_told_or_missed(network, 1) as read,
        serving(network, "10.2.0.2", speak),
        connected(network, "10.96.0.10", 80) as sock,
    ):
        for _ in range(2):
            transfer(sock, 10)
            time.sleep(0.2)  # the client's own acknowledgement is not to be the first in the next map
            read()
            turn.release()
            assert sock.recv(100) == b"unasked"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Network]:
    """Two nodes with a pod each on a bridge, and VXLAN between them; no pod answers what it is sent."""
    names = ("node", "far", "client", "server")
    with contextlib.ExitStack() as stack:
        made = Network({name: stack.enter_context(namespace()) for name in names})
        for name in names:
            made.run(name, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.default.disable_ipv6=1")
        made.run("server", "nft", "-f", "-", stdin=QUIET)
        made.run("node", "ip", "link", "add", "eth0", "type", "veth", "peer", "eth0", "netns", str(made.pids["far"]))
        for node, pod, own, other in (("node", "client", 1, 2), ("far", "server", 2, 1)):
            on_node = f"""
                link add cni0 type bridge mcast_snooping 0
                link add v1 master cni0 type veth peer eth0 netns {made.pids[pod]}
                link add flannel.1 address 02:00:00:00:00:0{own} type vxlan id 1 dstport 8472 remote 192.0.2.{other}
                address add 192.0.2.{own}/24 dev eth0
                address add 10.{own}.0.1/24 dev cni0
                address add 10.{own}.0.0/32 dev flannel.1
                link set eth0 up
                link set cni0 up
                link set v1 up
                link set flannel.1 up
                route add default via 192.0.2.{other}
                route add 10.{other}.0.0/24 via 10.{other}.0.0 dev flannel.1 onlink
                neigh add 10.{other}.0.0 lladdr 02:00:00:00:00:0{other} nud permanent dev flannel.1
            """
            in_pod = f"""
                address add 10.{own}.0.2/24 dev eth0
                link set eth0 up
                route add default via 10.{own}.0.1
            """
            for name, commands in ((node, on_node), (pod, in_pod)):
                made.run(name, "ip", "-batch", "-", stdin=commands)
        yield made


@pytest.mark.parametrize("sender", ["client", "node"])
def test_what_goes_through_a_bridge_and_a_tunnel_is_missed_once_a_node(nodes: Network, sender: str) -> None:
    """What a pod sends passes two interfaces of either node; what a node's own process sends passes one there."""
    counts = {node: Metrics() for node in ("node", "far")}
    with contextlib.ExitStack() as stack:
        sources = {
            node: stack.enter_context(started(EbpfSource(metrics, nodes.netns(node), PLACES)))
            for node, metrics in counts.items()
        }
        sock = in_namespace(nodes.netns(sender), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with sock:
            for number in range(SENT):
                sock.sendto(bytes(10), ("10.2.0.2", FIRST_PORT + number))
        quiet_counts(nodes, "server")
        told = {node: told_by(source, UDP) for node, source in sources.items()}
    for node, metrics in counts.items():
        assert told[node][0] > 0
        assert missed_by(metrics)[0] > 0, "the map was meant to be too small"
        assert (told[node] + missed_by(metrics)).tolist() == [SENT, SENT * (10 + 28)]
