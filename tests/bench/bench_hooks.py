"""What the hooks on sockets and on drops cost: kernel time an event, connections a second, a walk, a join.

`python tests/bench/bench_hooks.py [SOCKETS]`, as root. Prints one JSON line a figure. Client, node and server are
network namespaces of our own. The connections are made and served by Python threads on the same cores: read their rate
as a ratio of the same run.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from collector.ebpf.drops import DropHooks
from collector.ebpf.tcp import OBSERVATION, OPENER, TcpHooks
from collector.netlink import in_namespace
from collector.schema import MAX_ROWS
from collector.tcphealth import TcpHealth
from tests.bench.figures import show
from tests.collector.network import Network, connected, echo_all, routed_network, serving, transfer

ROUNDS = 5
CONNECTIONS = 1_000
MEGABYTE = 1_000_000
STATISTICS = Path("/proc/sys/kernel/bpf_stats_enabled")


def main() -> None:
    """Measure each."""
    join()
    if os.geteuid() != 0:
        print("bench_hooks needs root for the rest; skipped", file=sys.stderr)
        return
    with routed_network() as network, serving(network, "10.2.0.2", answer):
        events(network)
        rates(network)
        bulk(network)
        walk(network, int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)


def events(network: Network) -> None:
    """Nanoseconds a run of the programs, as the kernel counts them (with its own 20 to 30 for counting)."""
    before = STATISTICS.read_text()
    STATISTICS.write_text("1")
    try:
        with contextlib.closing(TcpHooks(32_768)):
            connect(network, CONNECTIONS)
            show_statistics("tcp_events")
        sender = in_namespace(network.netns("client"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with contextlib.closing(DropHooks(4096)), sender:
            for _ in range(20 * CONNECTIONS):
                sender.sendto(b"nobody listens", ("10.2.0.2", 999))
            show_statistics("drop_events")
    finally:
        STATISTICS.write_text(before)


def rates(network: Network) -> None:
    """Connections a second with the hooks and without, in turn, the best of each."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(ROUNDS):
        for on in (False, True):
            with contextlib.ExitStack() as stack:
                if on:
                    stack.enter_context(contextlib.closing(TcpHooks(32_768)))
                    stack.enter_context(contextlib.closing(DropHooks(4096)))
                began = time.perf_counter()
                connect(network, CONNECTIONS)
                found[on].append(CONNECTIONS / (time.perf_counter() - began))
    show("hooks_connections", max(found[True]), "connections/s", {"without": round(max(found[False]))})


def bulk(network: Network) -> None:
    """Throughput of one connection with the hooks and without, in turn, the best of each: no packet runs any."""
    found: dict[bool, list[float]] = {True: [], False: []}
    with connected(network, "10.96.0.10", 80) as sock:
        transfer(sock, MEGABYTE)
        for _ in range(ROUNDS):
            for on in (False, True):
                with contextlib.ExitStack() as stack:
                    if on:
                        stack.enter_context(contextlib.closing(TcpHooks(32_768)))
                        stack.enter_context(contextlib.closing(DropHooks(4096)))
                    began = time.perf_counter()
                    for _ in range(100):
                        transfer(sock, MEGABYTE)
                    found[on].append(0.8 / (time.perf_counter() - began))
    show("hooks_bulk", max(found[True]), "Gbit/s", {"without": float(f"{max(found[False]):.3g}")})


def walk(network: Network, sockets: int) -> None:
    """A look at many open sockets: where each has something to tell, and where none has."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with contextlib.closing(TcpHooks(32_768)) as hooks, contextlib.ExitStack() as stack:
        pairs = min(sockets, most - 1000) // 2
        for one in in_namespace(network.netns("server"), lambda: list(established(pairs))):
            stack.enter_context(one)
        for name in ("told", "idle"):
            hooks._look_due_s = 0.0
            began = time.perf_counter()
            rows = len(hooks.take())
            took = time.perf_counter() - began
            show(f"hooks_walk_{name}", took / (2 * pairs) * 1e9, "ns a socket", {"sockets": 2 * pairs, "rows": rows})


def join() -> None:
    """Observations of a full batch joined to its rows."""
    rows = MAX_ROWS
    number = np.arange(rows, dtype=np.uint64)
    flows: dict[str, Any] = {"protocol": np.full(rows, 6, np.uint8), "start": number.astype(np.int64)}
    for end in ("src", "dst", "backend", "nat_src"):
        flows[f"{end}_hi"], flows[f"{end}_lo"] = np.zeros(rows, np.uint64), number
        flows[f"{end}_port"] = np.full(rows, 80, np.uint16)
    observations = np.zeros(rows, OBSERVATION)
    observations["local"][:, 1] = observations["remote"][:, 1] = number
    observations["local_port"] = observations["remote_port"] = 80
    observations["role"], observations["srtt_us"] = OPENER, 100
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        joined = TcpHealth().join(flows, observations, 0)
        found.append(time.perf_counter() - began)
    assert joined["srtt_us"].all()
    show("hooks_join", rows / median(found), "observations/s", {"rows": rows})


def established(pairs: int) -> Iterator[socket.socket]:
    """Both ends of connections inside one namespace, over an address that is not the loopback's."""
    with socket.create_server(("10.2.0.2", 0), backlog=128) as listener:
        for _ in range(pairs):
            yield socket.create_connection(listener.getsockname())
            yield listener.accept()[0]


def answer(connection: socket.socket) -> None:
    """Echo until the client has gone, however it goes."""
    with contextlib.suppress(OSError):
        echo_all(connection)


def connect(network: Network, connections: int) -> None:
    """Connections one after the other, each with a byte both ways; reset, so that ports are free at once."""

    def run() -> None:
        for _ in range(connections):
            with socket.create_connection(("10.96.0.10", 80)) as sock:
                transfer(sock, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    in_namespace(network.netns("client"), run)


def show_statistics(name: str) -> None:
    """Mean time of a run of the programs that this process holds."""
    runs = took = 0
    for path in Path("/proc/self/fdinfo").iterdir():
        with contextlib.suppress(OSError):
            text = path.read_text()
            if "run_time_ns" in text:
                runs += int(re.search(r"run_cnt:\s*(\d+)", text)[1])  # type: ignore[index]
                took += int(re.search(r"run_time_ns:\s*(\d+)", text)[1])  # type: ignore[index]
    show(f"hooks_{name}", took / runs, "ns a run", {"runs": runs})


if __name__ == "__main__":
    main()
