"""The connection table of a namespace of our own, dumped and decoded, against pyroute2 on the same table.

`python tests/bench/bench_collector.py [CONNECTIONS]`, as root. Prints one JSON line a figure. The table mixes UDP over
IPv4 and IPv6, with and without destination NAT, and TCP in several states, so it has several message shapes.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from pyroute2 import NFCTSocket

from collector.connections import ENTRY, MESSAGE_GET, MESSAGE_NEW, decode
from collector.flowtable import FlowTable
from collector.netlink import NETLINK_NETFILTER, dump, in_namespace, open_socket
from collector.schema import FLOWS, MAX_ROWS, encode, filled
from tests.bench.figures import show

REPEATS = 5
ANY_FAMILY = struct.pack("=BBH", 0, 0, 0)
RULES = """
table inet bench {
  chain out {
    type nat hook output priority -100;
    ip6 daddr ::2 udp dport 1 dnat ip6 to ::1
    udp dport 30000-39999 ip daddr 127.0.0.1 dnat ip to 127.0.0.2
  }
}
"""


def main() -> None:
    """Fill a table, then measure each step of a cycle on it."""
    if os.geteuid() != 0:
        print("bench_collector needs root; skipped", file=sys.stderr)
        return
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        netns = Path(f"/proc/{holder.pid}/ns/net")
        for command in ("ip link set lo up", "sysctl -qw net.netfilter.nf_conntrack_acct=1", "nft -f -"):
            subprocess.run(["nsenter", f"--net={netns}", *command.split()], check=True, input=RULES, text=True)
        in_namespace(netns, lambda: fill(wanted))
        measure(netns)
    finally:
        holder.kill()
        holder.wait()


def fill(wanted: int) -> None:
    """Open `wanted` connections: mostly UDP, for their number; some TCP, for their shapes."""
    for family, address, share in ((socket.AF_INET, "127.0.0.1", 0.7), (socket.AF_INET6, "::1", 0.3)):
        left = int(wanted * share)
        while left > 0:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                for port in range(25_000, 25_000 + min(left, 10_000)):
                    sock.sendto(b"x", (address, port))
            left -= 10_000
    with socket.create_server(("127.0.0.1", 9000)) as server:
        for index in range(500):
            client = socket.create_connection(server.getsockname())
            accepted, _ = server.accept()
            if index % 3:
                client.close()
            if index % 3 == 1:
                accepted.close()


def measure(netns: Path) -> None:
    queries = in_namespace(netns, lambda: open_socket(NETLINK_NETFILTER, 0, 4 << 20))
    table = dump(queries, MESSAGE_GET, ANY_FAMILY)
    entries = decode(table, MESSAGE_NEW)
    rows = len(entries)

    dumping = rate(rows, lambda: dump(queries, MESSAGE_GET, ANY_FAMILY))
    decoding = rate(rows, lambda: decode(table, MESSAGE_NEW))
    both = rate(rows, lambda: decode(dump(queries, MESSAGE_GET, ANY_FAMILY), MESSAGE_NEW))
    began = time.perf_counter()
    told = in_namespace(netns, dump_by_pyroute2)
    pyroute2_rate = told / (time.perf_counter() - began)

    flows = FlowTable()
    flows.update(entries, np.empty(0, ENTRY), 1)
    grown = entries.copy()

    def merge() -> None:
        grown["bytes"] += 100
        flows.update(grown, np.empty(0, ENTRY), 2)

    merging = rate(rows, merge)
    known = {name: np.zeros(MAX_ROWS, kind) for name, kind in FLOWS.columns_of(1).items()}
    for name in set(FLOWS.columns) & set(ENTRY.names or ()):
        known[name] = np.resize(entries[name], MAX_ROWS)
    columns = filled(FLOWS, known)
    encoding = rate(MAX_ROWS, lambda: encode(FLOWS, columns))
    queries.close()

    shapes = f"{rows} entries"
    show("conntrack_dump", dumping, "entries/s", f"receiving and walking alone, {shapes}")
    show("conntrack_decode", decoding, "entries/s", shapes)
    show("conntrack_dump_and_decode", both, "entries/s", f"pyroute2 on the same table: {pyroute2_rate:.0f} entries/s")
    show("conntrack_against_pyroute2", both / pyroute2_rate, "times", "dump and decode, both")
    show("flow_table_merge", merging, "flows/s", "every flow has changed")
    show("flow_encode", encoding, "flows/s", f"{len(encode(FLOWS, columns)) / MAX_ROWS:.1f} bytes a flow")


def dump_by_pyroute2() -> int:
    with NFCTSocket() as sock:
        return sum(1 for _ in sock.dump())


def rate(rows: int, action: Callable[[], object]) -> float:
    """Rows a second, by the median of a few runs."""
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - began)
    return rows / median(seconds)


if __name__ == "__main__":
    main()
