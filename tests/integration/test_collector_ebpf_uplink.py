"""The eBPF source at a node's uplink, as interfaces come and go, when its table is full, and with few privileges."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from collector.ebpf import interfaces, libbpf
from collector.ebpf.libbpf import call
from collector.metrics import Metrics
from collector.netlink import Messages, in_namespace, receive_pending
from collector.sources.ebpf import EbpfSource
from tests.collector.flow_sources import SOURCES, started
from tests.collector.network import Network, namespace, text

pytestmark = pytest.mark.root

ROOT = Path(__file__).resolve().parents[2]

V4, V6 = ("10.7.0.2", "10.7.0.1"), ("fd07::2", "fd07::1")

FRAME = Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02")
TAGGED = FRAME / Dot1Q(vlan=7)
VXLAN = bytes.fromhex("0800000000000500")
GENEVE = bytes.fromhex("02406558000005000102800100000000")  # one option, Ethernet inside
GENEVE_IPV4 = bytes.fromhex("0000080000000500")

TUNNELS: dict[str, tuple[int, int, bytes, Packet, tuple[str, str]]] = {
    "vxlan": (17, 4789, VXLAN, FRAME, V4),
    "vxlan of flannel": (17, 8472, VXLAN, FRAME, V6),
    "vxlan of weave": (17, 6784, VXLAN, TAGGED, V4),
    "geneve": (17, 6081, GENEVE, FRAME, V4),
    "geneve without ethernet": (17, 6081, GENEVE_IPV4, Raw(), V4),
    "ipip": (4, 0, b"", Raw(), V4),
    "6in4": (41, 0, b"", Raw(), V6),
}
"""Outer protocol and port, what stands before the inner frame, that frame, the inner ends."""


@pytest.fixture
def pair() -> Iterator[Network]:
    """A node and another machine on one wire, the default route between them; no neighbour is ever asked for."""
    with contextlib.ExitStack() as stack:
        pids = {name: stack.enter_context(namespace()) for name in ("node", "far")}
        network = Network(pids)
        for name in pids:
            network.run(name, "sysctl", "-qw", "net.ipv6.conf.default.router_solicitations=0")
        network.run("node", "ip", "link", "add", "eth0", "type", "veth", "peer", "eth0", "netns", str(pids["far"]))
        for name, number in (("node", 1), ("far", 2)):
            network.run(name, "ip", "address", "add", f"192.0.2.{number}/24", "dev", "eth0")
            network.run(name, "ip", "link", "set", "eth0", "up")
        network.run("node", "ip", "route", "add", "default", "via", "192.0.2.2")
        yield network


@contextlib.contextmanager
def source(network: Network, table_flows: int = 4096, metrics: Metrics | None = None) -> Iterator[EbpfSource]:
    found = EbpfSource(metrics or Metrics(), network.netns("node"), table_flows)
    found.start()
    try:
        found.read(time.time_ns())
        yield found
    finally:
        found.stop()


def send(network: Network, name: str, tunnel: str, payload: bytes, *, turned: bool) -> None:
    """One datagram between the inner ends, in the tunnel, from one machine to the other."""
    protocol, port, head, frame, ends = TUNNELS[tunnel]
    source, destination = reversed(ends) if turned else ends
    ip = IPv6(src=source, dst=destination) if ":" in source else IP(src=source, dst=destination)
    inner = ip / UDP(sport=7000, dport=7000) / payload
    kind = socket.SOCK_DGRAM if protocol == 17 else socket.SOCK_RAW
    sock = in_namespace(network.netns(name), lambda: socket.socket(socket.AF_INET, kind, protocol))
    with sock:
        packet = head + (bytes(inner) if isinstance(frame, Raw) else bytes(frame / inner))
        sock.sendto(packet, ("192.0.2.1" if name == "far" else "192.0.2.2", port))


@pytest.mark.parametrize("tunnel", TUNNELS)
def test_what_is_in_a_tunnel_is_seen_as_itself_alone(pair: Network, tunnel: str) -> None:
    *_, ends = TUNNELS[tunnel]
    with source(pair) as flows:
        send(pair, "far", tunnel, b"question", turned=False)
        for _ in range(2):
            send(pair, "node", tunnel, b"answer", turned=True)
        time.sleep(0.3)
        columns = flows.finish(time.time_ns())
    names = ("src_hi", "src_lo", "dst_hi", "dst_lo", "packets", "reply_packets", "bytes", "reply_bytes")
    rows = [
        (text(*row[:2]), text(*row[2:4]), *row[4:])
        for row in zip(*(np.asarray(columns[name]).tolist() for name in names), strict=True)
    ]
    header = 48 if ends == V6 else 28
    assert rows == [(*ends, 1, 2, header + 8, 2 * (header + 6))]


@pytest.mark.parametrize("name", ["ebpf", "packets"])
@pytest.mark.parametrize(("tunnel", "port"), [("vxlan", 4789), ("geneve without ethernet", 6081), ("ipip", 0)])
def test_a_pods_own_tunnel_is_not_opened(pair: Network, name: str, tunnel: str, port: int) -> None:
    """What a pod writes into a packet makes no flow of others: tunnels are opened at uplinks alone."""
    pair.run("node", "ip", "route", "delete", "default")  # with it, eth0 is the veth of a pod
    with started(SOURCES[name](Metrics(), pair.netns("node"))) as flows:
        send(pair, "far", tunnel, b"question", turned=False)
        time.sleep(0.3)
        columns = flows.finish(time.time_ns())
    high, low, ports = (np.asarray(columns[column]).tolist() for column in ("src_hi", "src_lo", "dst_port"))
    assert [(text(*row[:2]), row[2]) for row in zip(high, low, ports, strict=True)] == [("192.0.2.2", port)]


def test_a_pod_is_counted_from_its_first_packet_and_forgotten_when_it_goes(pair: Network) -> None:
    metrics = Metrics()
    with source(pair, metrics=metrics) as flows:
        assert metrics.value("attached_interfaces") == 1
        with namespace() as pod:
            pair.run("node", "ip", "link", "add", "pod1", "type", "veth", "peer", "eth0", "netns", str(pod))
            wait_until(lambda: metrics.value("attached_interfaces") == 2)
        wait_until(lambda: metrics.value("attached_interfaces") == 1)
        flows.read(time.time_ns())


def test_captured_packets_of_a_new_pod_are_told_from_the_first(pair: Network) -> None:
    with started(SOURCES["packets"](Metrics(), pair.netns("node"))) as flows, namespace() as pod:
        with_pod = Network({**pair.pids, "pod": pod})
        with_pod.run("node", "ip", "link", "add", "pod1", "type", "veth", "peer", "eth0", "netns", str(pod))
        with_pod.run("node", "ip", "-batch", "-", stdin="address add 10.9.0.1/24 dev pod1\nlink set pod1 up\n")
        with_pod.run("pod", "ip", "-batch", "-", stdin="address add 10.9.0.2/24 dev eth0\nlink set eth0 up\n")
        with in_namespace(with_pod.netns("pod"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
            for _ in range(100):
                sock.sendto(b"question", ("10.9.0.1", 7000))
        time.sleep(1.5)
        columns = flows.finish(time.time_ns())
    is_own = np.asarray(columns["dst_port"]) == 7000
    assert np.asarray(columns["packets"])[is_own].sum() == 100


def recreate(network: Network) -> None:
    """Another eth0 in place of the node's, with the same number and addresses."""
    (link,) = json.loads(
        subprocess.run(
            ["nsenter", f"--net={network.netns('node')}", "ip", "-j", "link", "show", "eth0"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )
    network.run("node", "ip", "link", "delete", "eth0")
    place = ("index", str(link["ifindex"]), "type", "veth", "peer", "eth0", "netns", str(network.pids["far"]))
    network.run("node", "ip", "link", "add", "eth0", *place)
    for name, number in (("node", 1), ("far", 2)):
        network.run(name, "ip", "address", "add", f"192.0.2.{number}/24", "dev", "eth0")
        network.run(name, "ip", "link", "set", "eth0", "up")


def without_tcx(name: str, *arguments: object) -> int:
    """libbpf on a kernel before 6.6."""
    if name == "bpf_link_create":
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
    return call(name, *arguments)


@pytest.mark.parametrize("hooks", [call, without_tcx], ids=["tcx", "clsact"])
def test_an_interface_that_takes_the_number_of_one_that_has_gone_is_counted(
    pair: Network, monkeypatch: pytest.MonkeyPatch, hooks: Callable[..., int]
) -> None:
    """As a CNI's that makes interfaces in the pods' namespaces; on a busy node one look may come after both."""
    looks = 0

    def late(events: socket.socket) -> tuple[Messages, int]:
        nonlocal looks
        if not looks:
            recreate(pair)
        looks += 1
        return receive_pending(events)

    monkeypatch.setattr(interfaces, "receive_pending", late)
    monkeypatch.setattr(libbpf, "call", hooks)
    pair.run("node", "ip", "route", "delete", "default")  # with it, eth0 is the veth of a pod
    with source(pair) as flows:
        pair.run("node", "ip", "link", "set", "eth0", "alias", "an event")
        wait_until(lambda: looks > 1)

        def is_counted() -> bool:
            send(pair, "far", "vxlan", b"question", turned=False)
            time.sleep(0.3)
            return 4789 in np.asarray(flows.finish(time.time_ns())["dst_port"]).tolist()

        wait_until(is_counted, 10)


def test_a_veth_by_which_a_default_route_comes_to_lead_is_an_uplink(
    pair: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interfaces, "RESCAN_S", 0.1)
    pair.run("node", "ip", "route", "delete", "default")
    with source(pair) as flows:
        pair.run("node", "ip", "route", "add", "default", "via", "192.0.2.2")
        time.sleep(1.0)
        send(pair, "far", "vxlan", b"question", turned=False)
        time.sleep(0.3)
        columns = flows.finish(time.time_ns())
    assert np.asarray(columns["dst_port"]).tolist() == [7000]


def wait_until(condition: object, timeout_s: float = 60.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_nothing_is_left_on_the_interfaces(pair: Network) -> None:
    """Whether the agent stops or dies: the programs hang on links that are file descriptors."""
    with source(pair):
        assert [programs(pair, point) for point in (46, 47)] == [1, 1]
    assert [programs(pair, point) for point in (46, 47)] == [0, 0]


def programs(network: Network, point: int) -> int:
    """How many are at an attachment point (BPF_TCX_INGRESS, BPF_TCX_EGRESS) of eth0."""

    def query() -> int:
        ids, count = (ctypes.c_uint32 * 8)(), ctypes.c_uint32(8)
        found = libbpf.library().bpf_prog_query(socket.if_nametoindex("eth0"), point, 0, None, ids, ctypes.byref(count))
        assert found == 0
        return count.value

    return in_namespace(network.netns("node"), query)


def test_packets_in_are_packets_out_or_missed_while_the_table_is_read(pair: Network) -> None:
    """Byte for byte, with readers and senders at once, and with more flows than the table holds."""
    metrics = Metrics()
    sent_packets = sent_bytes = 0
    sums = np.zeros(2, np.uint64)
    done = threading.Event()

    def send() -> None:
        nonlocal sent_packets, sent_bytes
        sock = in_namespace(pair.netns("far"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with sock:
            deadline = time.monotonic() + 2.0
            while time.monotonic() < deadline:
                for port in range(10_000, 13_000):
                    payload = bytes(port % 50)
                    sock.sendto(payload, ("192.0.2.1", port))
                    sent_packets += 1
                    sent_bytes += 28 + len(payload)
        done.set()

    pair.run(
        "node", "nft", "add table ip mute; add chain ip mute in { type filter hook input priority 0; policy drop; }"
    )
    with source(pair, 1024, metrics) as flows:
        before = metrics.value("missed_packets_total", reason="table_full")
        sender = threading.Thread(target=send)
        sender.start()
        while not done.wait(0.02):
            add(sums, flows.read(time.time_ns()))
        sender.join()
        add(sums, flows.finish(time.time_ns()))
        full = [metrics.value(f"missed_{what}_total", reason="table_full") for what in ("packets", "bytes")]
    assert before == 0
    assert full[0] > 0, "the table was meant to be too small"
    assert (int(sums[0] + full[0]), int(sums[1] + full[1])) == (sent_packets, sent_bytes)


def add(sums: np.ndarray[tuple[int], np.dtype[np.uint64]], columns: object) -> None:
    assert isinstance(columns, dict)
    is_udp = columns["protocol"] == 17
    sums += (columns["packets"][is_udp].sum(), columns["bytes"][is_udp].sum())


PROGRAM = """
import json, sys, time
from pathlib import Path
from collector.agent import open_sources
from collector.ebpf import libbpf
from collector.config import CollectorConfig
from collector.ebpf import libbpf
from collector.metrics import Metrics
metrics = Metrics()
(source,) = open_sources(CollectorConfig("n", "file:///unused", ("auto",)), metrics)
source.start()
rows = len(source.read(time.time_ns())["time"])
source.stop()
(found,) = [labels for (name, labels) in metrics._values if name == "source_info"]
print(json.dumps([*found, metrics.value("attached_interfaces")]))
"""


def under(network: Network, *capabilities: str, environment: dict[str, str] | None = None) -> list[object]:
    """What `auto` chooses in the node's namespace with these capabilities alone."""
    kept = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    done = subprocess.run(
        [
            *("nsenter", f"--net={network.netns('node')}", "setpriv", f"--bounding-set={kept}", f"--inh-caps={kept}"),
            *(sys.executable, "-c", PROGRAM),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv")
def test_the_least_privileges_of_each_source(pair: Network) -> None:
    assert under(pair, "bpf", "net_admin", "perfmon") == ["ebpf", "", 1.0]
    for lacking in ({"bpf", "perfmon"}, {"bpf", "net_admin"}, {"perfmon", "net_admin"}):
        assert under(pair, *lacking)[0] != "ebpf", lacking
    assert under(pair, "net_admin") == ["conntrack", "privileges", 0.0]
    assert under(pair) == ["none", "privileges", 0.0]
