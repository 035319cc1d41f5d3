"""What a real kernel drops, by its own reason, of which connection."""

from __future__ import annotations

import contextlib
import errno
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.metrics import Metrics
from collector.netlink import in_namespace
from collector.sources.drops import DropSource
from tests.collector.network import Network, connected, echo_all, proc_of, routed_network, serving, text, transfer

pytestmark = pytest.mark.root

ROOT = Path(__file__).resolve().parents[2]
DENY = "table ip deny { chain forward { type filter hook forward priority 10; tcp dport 8080 drop; }; }"

Drop = tuple[str, str, int, int, str]
"""Source, destination, destination's port, protocol, reason."""


@pytest.fixture
def network() -> Iterator[Network]:
    with routed_network() as built:
        yield built


@contextlib.contextmanager
def drops(proc: Path, metrics: Metrics | None = None, table_drops: int = 4096) -> Iterator[DropSource]:
    source = DropSource(metrics or Metrics(), proc, table_drops)
    source.start()
    try:
        source.read(time.time_ns())
        yield source
    finally:
        source.stop()


@pytest.fixture
def proc(network: Network, tmp_path: Path) -> Path:
    return proc_of(network, tmp_path / "proc")


def taken(source: DropSource) -> dict[Drop, tuple[int, int]]:
    """Packets and bytes of what was dropped since the last time, but of the kernel's own chatter."""
    found: dict[Drop, tuple[int, int]] = {}
    columns = source.read(time.time_ns())
    for row in zip(*(columns[name] for name in columns if name != "time"), strict=True):
        src, dst = text(int(row[0]), int(row[1])), text(int(row[2]), int(row[3]))
        if dst.startswith(("10.", "fd0")):
            add(found, {(src, dst, int(row[5]), int(row[6]), str(row[7])): (int(row[8]), int(row[9]))})
    return found


def add(found: dict[Drop, tuple[int, int]], more: dict[Drop, tuple[int, int]]) -> None:
    """Packets and bytes of `more` go to those found before."""
    for key, (packets, size) in more.items():
        before = found.get(key, (0, 0))
        found[key] = before[0] + packets, before[1] + size


def test_what_a_policy_denies_is_dropped_by_netfilter(network: Network, proc: Path) -> None:
    """As often as the opener has asked: its first SYN and the ones that followed."""
    network.run("node", "nft", "-f", "-", stdin=DENY)
    found: dict[Drop, tuple[int, int]] = {}
    with drops(proc) as source:
        sock = in_namespace(network.netns("client"), lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        with sock:
            sock.setblocking(False)
            assert sock.connect_ex(("10.96.0.10", 80)) == errno.EINPROGRESS
            deadline = time.monotonic() + 90
            while sum(packets for packets, _ in found.values()) < 2:  # a second after the first SYN comes another
                assert time.monotonic() < deadline
                time.sleep(0.05)
                add(found, taken(source))
    ((key, (packets, size)),) = found.items()
    assert key == ("10.1.0.2", "10.2.0.2", 8080, 6, "netfilter_drop")
    assert size == 60 * packets


@pytest.mark.parametrize(("family", "address", "size"), [(2, "10.2.0.2", 33), (10, "fd02::2", 53)])
def test_a_port_without_a_socket_is_a_reason(
    network: Network, proc: Path, family: int, address: str, size: int
) -> None:
    """Bytes as the IP header tells them."""
    client = network.netns("client")
    with drops(proc) as source, in_namespace(client, lambda: socket.socket(family, socket.SOCK_DGRAM)) as sock:
        sock.sendto(b"hello", (address, 999))
        deadline = time.monotonic() + 90
        found = taken(source)
        while not found:
            assert time.monotonic() < deadline
            time.sleep(0.05)
            found = taken(source)
    source_address = "fd01::2" if ":" in address else "10.1.0.2"
    assert found == {(source_address, address, 999, 17, "no_socket"): (1, size)}


def test_traffic_that_arrives_is_no_drop(network: Network, proc: Path) -> None:
    with serving(network, "10.2.0.2", echo_all), drops(proc) as source:
        with connected(network, "10.96.0.10", 80) as sock:
            transfer(sock, 500_000)
        time.sleep(0.2)
        assert taken(source) == {}


def test_namespaces_of_other_nodes_are_left_out(network: Network, proc: Path, tmp_path: Path) -> None:
    metrics = Metrics()
    own, foreign = DropSource(metrics, proc), DropSource(metrics, proc_of(network, tmp_path / "foreign", "client"))
    for source in (own, foreign):
        source.start()
    try:
        with in_namespace(network.netns("client"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
            sock.sendto(b"hello", ("10.2.0.2", 999))
        deadline = time.monotonic() + 90
        while not taken(own):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert taken(foreign) == {}
    finally:
        own.stop()
        foreign.stop()


def test_what_has_no_place_in_the_table_is_counted(network: Network, proc: Path) -> None:
    metrics = Metrics()
    with drops(proc, metrics, table_drops=4) as source:
        with in_namespace(network.netns("client"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
            for port in range(1000, 1050):
                sock.sendto(b"hello", ("10.2.0.2", port))
        deadline = time.monotonic() + 90
        told = 0
        while told + metrics.value("missed_drops_total") < 50:
            assert time.monotonic() < deadline
            told += sum(packets for packets, _ in taken(source).values())
            time.sleep(0.05)
    assert metrics.value("missed_drops_total") >= 40


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv")
@pytest.mark.parametrize(("capabilities", "expected"), [("+bpf,+perfmon", "True"), ("+bpf", "privileges")])
def test_two_capabilities_are_enough_and_needed(capabilities: str, expected: str) -> None:
    code = (
        "from collector.ebpf.loaded import HookError\n"
        "from collector.ebpf.drops import DropHooks\n"
        "try:\n    hooks = DropHooks(64); print(hooks.take() is not None); hooks.close()\n"
        "except HookError as error: print(error.reason)\n"
    )
    command = ["setpriv", f"--bounding-set=-all,{capabilities}", f"--inh-caps=-all,{capabilities}", "--"]
    done = subprocess.run(
        [*command, sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == expected
