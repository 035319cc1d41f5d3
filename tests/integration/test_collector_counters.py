"""The counter source against a real kernel."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from collector.metrics import Metrics
from collector.schema import SCOPES, SOCKET_COLUMNS, TABLES, encode
from collector.sources.counters import SOCKETS_S, CounterSource
from tests.collector.network import (
    Network,
    await_closed,
    connected,
    echo_all,
    interface_counts,
    quiet_counts,
    serving,
    text,
    transfer,
)

pytestmark = pytest.mark.root


@pytest.fixture
def proc(network: Network, tmp_path: Path) -> Path:
    """A /proc that holds this network's processes alone; process 1 is of the node."""
    for number, pid in ((1, network.pids["node"]), *((pid, pid) for pid in network.pids.values())):
        (tmp_path / str(number)).symlink_to(f"/proc/{pid}")
    return tmp_path


def test_counters_are_the_pods_own_to_the_byte(network: Network, proc: Path) -> None:
    source = CounterSource(Metrics(), proc, network.netns("node"))
    source.start()
    with serving(network, "10.2.0.2", echo_all), connected(network, "10.96.0.10", 80) as sock:
        transfer(sock, 123_456)
    for pod in ("client", "server"):
        quiet_counts(network, pod)
    columns = source.read(time.time_ns())
    source.stop()
    encode(TABLES["counters"], columns)
    pods = [
        dict(zip(columns, row, strict=True))
        for row in zip(*columns.values(), strict=True)
        if row[1] == SCOPES.index("pod")
    ]
    by_address = {text(int(row["addr_hi"]), int(row["addr_lo"])): row for row in pods}
    assert sorted(by_address) == ["10.1.0.2", "10.2.0.2"], "one row a pod; the node's own namespace is none"
    for name, address in (("client", "10.1.0.2"), ("server", "10.2.0.2")):
        expected = interface_counts(network, name)
        row = by_address[address]
        got = [
            row[f"{way}_{what}"]
            for way in ("receive", "transmit")
            for what in ("bytes", "packets", "errors", "packets_dropped")
        ]
        assert [int(value) for value in got] == [*expected[0:4], *expected[8:12]]
        assert row["interface"] == "eth0"
        assert row["netns"] == network.netns(name).stat().st_ino
        assert row["ifindex"] > 1
    assert by_address["10.1.0.2"]["transmit_bytes"] >= 123_456


def test_sockets_of_a_pod_are_those_that_it_has(network: Network, proc: Path) -> None:
    """They are counted a pod at a time, and once in a while."""
    source = CounterSource(Metrics(), proc, network.netns("node"))
    source.start()

    def sockets(now_ns: int) -> dict[tuple[str, str], int]:
        columns = source.read(now_ns)
        addresses = [text(int(hi), int(lo)) for hi, lo in zip(columns["addr_hi"], columns["addr_lo"], strict=True)]
        return {
            (address, name): int(count)
            for name in SOCKET_COLUMNS
            for address, count in zip(addresses, columns[name], strict=True)
            if count
        }

    now_ns, later_ns = time.time_ns(), (SOCKETS_S + 1) * 1_000_000_000
    with serving(network, "10.2.0.2", echo_all), connected(network, "10.96.0.10", 80):
        first = sockets(now_ns)
        assert first == sockets(now_ns + 1), "it takes its time"
        during = sockets(now_ns + later_ns)
    await_closed(network)
    assert len({address for address, _ in first}) < len({address for address, _ in during})
    sockets(now_ns + 2 * later_ns)
    after = sockets(now_ns + 3 * later_ns)
    source.stop()
    assert during["10.1.0.2", "tcp_established"] == 1
    assert during["10.2.0.2", "tcp_listen"] >= 1
    assert ("10.1.0.2", "tcp_established") not in after


def test_node_scope_is_the_uplink_and_the_tunnel(network: Network, proc: Path) -> None:
    """v1 and v2 lead into other namespaces and have addresses, like a containerised node's uplink."""
    network.run("node", "ip", "link", "add", "vx0", "type", "vxlan", "id", "7", "dstport", "8472", "dev", "v2")
    network.run("node", "ip", "link", "set", "vx0", "up")
    network.run("node", "ip", "link", "add", "cni0", "type", "bridge")
    network.run("node", "ip", "link", "set", "cni0", "up")
    network.run(
        "node",
        "ip",
        "link",
        "add",
        "pod0",
        "master",
        "cni0",
        "type",
        "veth",
        "peer",
        "x",
        "netns",
        str(network.pids["server"]),
    )
    network.run("node", "ip", "link", "set", "pod0", "up")
    source = CounterSource(Metrics(), proc, network.netns("node"))
    source.start()
    columns = source.read(time.time_ns())
    source.stop()
    for name in ("vx0", "cni0", "pod0"):
        network.run("node", "ip", "link", "delete", name)
    scopes = np.asarray(columns["scope"]).tolist()
    found = {name: SCOPES[scope] for name, scope in zip(columns["interface"], scopes, strict=True) if scope != 0}
    assert found == {"v1": "node", "v2": "node", "vx0": "overlay"}
