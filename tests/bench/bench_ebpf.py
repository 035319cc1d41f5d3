"""The eBPF source: what it costs a packet, and how fast a full table becomes batches.

`python tests/bench/bench_ebpf.py [FLOWS]`, as root. Prints one JSON line a figure. A client, a node that forwards and a
server are network namespaces of our own; all four hooks of both veths are on or off in turn, in the same run. The
senders are Python programs on the same cores: they set the pace, so read the rates as a ratio, and the cost of a packet
from the kernel's own statistics.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np

from collector.ebpf import libbpf
from collector.ebpf.layout import BEGINS, CONVERSATION, COUNTS, CT_LOCAL_OPENS, EGRESS_SHIFT, SYN, SYN_ACK
from collector.ebpf.program import Program
from collector.ebpf.sightings import sight
from collector.ebpf.tracking import Connections
from collector.metrics import Metrics
from collector.schema import FLOWS, MAX_ROWS, encode, filled
from collector.sources.ebpf import EbpfSource
from tests.bench.figures import show
from tests.collector.generator import Generator
from tests.collector.network import Network, connected, routed_network, serving

ROUNDS = 3
SECONDS = 1.5
QUIET = """
table inet quiet {
  chain input { type filter hook input priority 0; meta l4proto udp drop; }
}
"""
"""The server answers no datagram."""
STATISTICS = Path("/proc/sys/kernel/bpf_stats_enabled")


def main() -> None:
    """Measure the drain, then the hooks."""
    if os.geteuid() != 0:
        print("bench_ebpf needs root; skipped", file=sys.stderr)
        return
    for both_ways in (True, False):
        drain(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, both_ways=both_ways)
    with routed_network() as network:
        network.run("server", "nft", "-f", "-", stdin=QUIET)
        with Generator(network) as generator:
            rates(network, generator)
            cost(network, generator)


def drain(flows: int, *, both_ways: bool) -> None:
    """From a full table in the kernel to encoded batches: one-way flows, two a connection where it is answered."""
    entries = flows // 2 if both_ways else flows
    program = Program(1 << max(10, entries.bit_length()))
    keys, values = np.zeros(entries, CONVERSATION), np.zeros(entries, COUNTS)
    number = np.arange(entries, dtype=np.uint64)
    keys["local"][:, 1] = values["other_destination"][:, 1] = 0xFFFF_0A00_0000 + number // 20_000
    keys["remote"][:, 1] = values["other_source"][:, 1] = 0xFFFF_0A60_000A
    keys["local_port"] = values["other_destination_port"] = number % 20_000
    keys["remote_port"] = values["other_source_port"] = 80
    keys["protocol"], keys["ifindex"] = 6, 2
    values["packets"][:, : 1 + both_ways], values["bytes"][:, : 1 + both_ways] = 1, 60
    values["flags"] = SYN | BEGINS | both_ways * (SYN_ACK << EGRESS_SHIFT)
    values["isn"], values["conntrack"] = 1, both_ways * CT_LOCAL_OPENS
    values["first"] = values["last"] = time.monotonic_ns() - 10**9
    count = ctypes.c_uint32(entries)
    update = libbpf.library().bpf_map_update_batch
    update.argtypes = (ctypes.c_int, *[ctypes.c_void_p] * 4)
    assert update(program._tables[1], keys.ctypes.data, values.ctypes.data, ctypes.byref(count), None) == 0
    del keys, values

    connections = Connections()
    began = time.perf_counter()
    taken = program.take()
    read = time.perf_counter()
    seen = sight(*taken, set(), connections.holds)
    oriented = time.perf_counter()
    rows = connections.update(seen, time.monotonic_ns(), 0)
    tracked = time.perf_counter()
    for first in range(0, entries, MAX_ROWS):
        encode(FLOWS, filled(FLOWS, {name: rows[name][first : first + MAX_ROWS] for name in FLOWS.columns_of(1)}))
    done = time.perf_counter()
    assert len(rows["time"]) == entries
    program.close()
    steps = {"read": read - began, "sight": oriented - read, "track": tracked - oriented, "encode": done - tracked}
    name = "ebpf_drain_two_way" if both_ways else "ebpf_drain_one_way"
    against = {"flows": flows, "connections": entries, **{step: round(took, 3) for step, took in steps.items()}}
    show(name, done - began, "s", against)


@contextlib.contextmanager
def hooked(network: Network, *, on: bool) -> Iterator[EbpfSource | None]:
    if not on:
        yield None
        return
    source = EbpfSource(Metrics(), network.netns("node"))
    source.start()
    try:
        yield source
    finally:
        source.stop()


def rates(network: Network, generator: Generator) -> None:
    """Bulk TCP and 60-byte UDP that are forwarded with the hooks and without, in turn."""
    measures: tuple[tuple[str, str, Callable[[], float]], ...] = (
        ("tcp_bulk", "Gbit/s", lambda: bulk(network)),
        ("udp_1_flow", "packets/s", lambda: datagrams(network, generator, 1)),
        ("udp_100k_flows", "packets/s", lambda: datagrams(network, generator, 100_000)),
    )
    for name, unit, measure in measures:
        found: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(ROUNDS):
            for on in (False, True):
                with hooked(network, on=on):
                    found[on].append(measure())
        without, with_ = median(found[False]), median(found[True])
        rounds = [round(on / off, 3) for off, on in zip(found[False], found[True], strict=True)]
        against = {unit: [round(without, 2), round(with_, 2)], "rounds": rounds}
        show(f"ebpf_{name}", with_ / without, "of the rate without", against)


def bulk(network: Network) -> float:
    def swallow(connection: socket.socket) -> None:
        buffer = bytearray(1 << 20)
        while connection.recv_into(buffer):
            pass

    sent, chunk = 0, bytes(1 << 20)
    with serving(network, "10.2.0.2", swallow), connected(network, "10.2.0.2", 8080) as sock:
        began = time.perf_counter()
        while time.perf_counter() - began < SECONDS:
            sent += sock.send(chunk)
    return sent * 8 / SECONDS / 1e9


def datagrams(network: Network, generator: Generator, flows: int) -> float:
    """Datagrams that reach the server's namespace in a second, as fast as they can be sent; nothing there answers."""
    before, began, first = received(network), time.perf_counter(), 0
    while (took := time.perf_counter() - began) < SECONDS:
        generator.send(np.arange(first, first + 500) % flows)
        first += 500
    return (received(network) - before) / took


def received(network: Network) -> int:
    line = Path(f"/proc/{network.pids['server']}/net/dev").read_text().split("eth0:")[1].split()
    return int(line[1])


def cost(network: Network, generator: Generator) -> None:
    """Nanoseconds a packet and hook, as the kernel counts them (with its own 20 to 30 for counting)."""
    before = STATISTICS.read_text()
    STATISTICS.write_text("1")
    try:
        for flows in (1, 100_000):
            with hooked(network, on=True) as source:
                assert source is not None
                datagrams(network, generator, flows)
                runs, took = statistics()
                show(f"ebpf_packet_{flows}_flows", took / runs, "ns a packet and hook", {"runs": runs})
    finally:
        STATISTICS.write_text(before)


def statistics() -> tuple[int, int]:
    """Runs and nanoseconds of all programs that this process holds."""
    runs = took = 0
    for path in Path("/proc/self/fdinfo").iterdir():
        with contextlib.suppress(OSError):
            text = path.read_text()
            if "run_time_ns" in text:
                runs += int(re.search(r"run_cnt:\s*(\d+)", text)[1])  # type: ignore[index]
                took += int(re.search(r"run_time_ns:\s*(\d+)", text)[1])  # type: ignore[index]
    return runs, took


if __name__ == "__main__":
    main()
