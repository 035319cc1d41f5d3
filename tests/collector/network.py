"""A client, a node that routes and translates, and a server: three network namespaces and the traffic between them."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collector.netlink import in_namespace
from collector.schema import OUTCOMES, TABLES, encode, filled
from collector.sources import Columns

RULES = """
table inet lab {
  chain prerouting {
    type nat hook prerouting priority dstnat;
    ip daddr 10.96.0.10 meta l4proto { tcp, udp } th dport { 80, 81 } dnat ip to 10.2.0.2:8080
    ip6 daddr fd96::10 tcp dport 80 dnat ip6 to [fd02::2]:8080
  }
  chain postrouting {
    type nat hook postrouting priority srcnat;
    meta l4proto tcp ct original proto-dst 81 masquerade
  }
}
"""

SILENCE = """
table ip6 silence {
  chain output {
    type filter hook output priority 0;
    icmpv6 type { 130-136, 143 } drop
  }
}
"""
"""Neighbour discovery and group membership, which the kernel sends when it likes, stay out of what is measured."""


@dataclass(frozen=True)
class Network:
    """The three namespaces and the processes that hold them."""

    pids: dict[str, int]

    def netns(self, name: str) -> Path:
        return Path(f"/proc/{self.pids[name]}/ns/net")

    def run(self, name: str, *command: str, stdin: str = "") -> None:
        subprocess.run(["nsenter", f"--net={self.netns(name)}", *command], check=True, input=stdin, text=True)


def proc_of(network: Network, folder: Path, *names: str) -> Path:
    """A /proc that shows the processes of these namespaces, or of all three, and of no other network on this kernel."""
    for name in names or tuple(network.pids):
        namespaces = folder / str(network.pids[name]) / "ns"
        namespaces.mkdir(parents=True)
        (namespaces / "net").symlink_to(network.netns(name))
    return folder


def pin_neighbours(network: Network, name: str, number: int) -> None:
    """Neighbours that never need resolving, so that none of it is among what is measured."""
    for at, device, peer, peer_device, host in (
        ("node", f"v{number}", name, "eth0", 2),
        (name, "eth0", "node", f"v{number}", 1),
    ):
        command = ["nsenter", f"--net={network.netns(peer)}", "ip", "-j", "link", "show", peer_device]
        (link,) = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for address in (f"10.{number}.0.{host}", f"fd0{number}::{host}"):
            place = ("lladdr", link["address"], "dev", device, "nud", "permanent")
            network.run(at, "ip", "neigh", "replace", address, *place)


@contextlib.contextmanager
def namespace() -> Iterator[int]:
    """A network namespace, by the process that holds it: that ends with the block, or with this process."""
    command = ["unshare", "--net", "sh", "-c", "echo ready; exec cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "ready\n"
            yield holder.pid
        finally:
            holder.kill()


@contextlib.contextmanager
def routed_network() -> Iterator[Network]:
    """Bring the network up, with routes, translation and forwarding; everything is gone with its three processes."""
    with contextlib.ExitStack() as stack:
        pids = {name: stack.enter_context(namespace()) for name in ("node", "client", "server")}
        built = Network(pids)
        for name in pids:
            built.run(name, "sysctl", "-qw", "net.ipv6.conf.default.router_solicitations=0")
            built.run(name, "ip", "link", "set", "lo", "up")
            built.run(name, "nft", "-f", "-", stdin=SILENCE)
        for number, name in ((1, "client"), (2, "server")):
            built.run(
                "node", "ip", "link", "add", f"v{number}", "type", "veth", "peer", "eth0", "netns", str(pids[name])
            )
            built.run("node", "ip", "link", "set", f"v{number}", "up")
            built.run("node", "ip", "address", "add", f"10.{number}.0.1/24", "dev", f"v{number}")
            built.run("node", "ip", "-6", "address", "add", f"fd0{number}::1/64", "dev", f"v{number}", "nodad")
            built.run(name, "ip", "address", "add", f"10.{number}.0.2/24", "dev", "eth0")
            built.run(name, "ip", "-6", "address", "add", f"fd0{number}::2/64", "dev", "eth0", "nodad")
            built.run(name, "ip", "link", "set", "eth0", "up")
            built.run(name, "ip", "route", "add", "default", "via", f"10.{number}.0.1")
            pin_neighbours(built, name, number)
            built.run(name, "ip", "-6", "route", "add", "default", "via", f"fd0{number}::1")
        built.run("node", "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        built.run("node", "nft", "-f", "-", stdin=RULES)
        time.sleep(0.5)  # IPv6 routes become usable a moment after the link is up
        yield built


@contextlib.contextmanager
def pins() -> Iterator[Path]:
    """A folder of a bpffs of its own."""
    path = Path(f"/tmp/flowatlas-test-bpf-{os.getpid()}")
    path.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)
        path.rmdir()


@contextlib.contextmanager
def serving(network: Network, address: str, answer: Callable[[socket.socket], None]) -> Iterator[None]:
    """One TCP server in the server's namespace that treats each connection with `answer`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = in_namespace(network.netns("server"), lambda: socket.create_server((address, 8080), family=family))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                answer(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def echo_all(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


def connected(network: Network, address: str, port: int) -> socket.socket:
    return in_namespace(network.netns("client"), lambda: socket.create_connection((address, port), timeout=60))


def transfer(sock: socket.socket, size: int) -> None:
    sock.sendall(bytes(size))
    left = size
    while left:
        left -= len(sock.recv(65536))


def text(high: int, low: int) -> str:
    v6 = ipaddress.IPv6Address(high << 64 | low)
    return str(v6.ipv4_mapped or v6)


def records(columns: Columns, protocol: int) -> list[dict[str, Any]]:
    """The rows of one protocol with addresses as text and outcomes as words."""
    encode(TABLES["flows"], filled(TABLES["flows"], columns))  # whatever a source gives must be a valid batch
    rows = []
    for row in zip(*columns.values(), strict=True):
        values = (value if isinstance(value, str) else int(value) for value in row)
        record: dict[str, Any] = dict(zip(columns, values, strict=True))
        for end in ("src", "dst", "backend", "nat_src"):
            record[end] = text(record[f"{end}_hi"], record[f"{end}_lo"])
        record["outcome"] = OUTCOMES[record["outcome"]]
        rows.append(record)
    return [row for row in rows if row["protocol"] == protocol]


def interface_counts(network: Network, name: str) -> list[int]:
    line = Path(f"/proc/{network.pids[name]}/net/dev").read_text().split("eth0:")[1].splitlines()[0]
    return [int(number) for number in line.split()]


def await_closed(network: Network) -> None:
    """Wait until no pod has a TCP socket that is neither listening nor closed on both sides."""
    of_the_past = {"06", "0A"}  # TCP_TIME_WAIT, TCP_LISTEN of include/net/tcp_states.h
    tables = [Path(f"/proc/{network.pids[pod]}/net/{name}") for pod in ("client", "server") for name in ("tcp", "tcp6")]
    deadline = time.monotonic() + 60
    while {line.split()[3] for table in tables for line in table.read_text().splitlines()[1:]} - of_the_past:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def quiet_counts(network: Network, name: str) -> list[int]:
    """The counts once nothing has moved for a while."""
    before: list[int] = []
    while before != (now := interface_counts(network, name)):
        before = now
        time.sleep(0.5)
    return now
