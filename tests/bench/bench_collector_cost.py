"""What the collector takes while 10,000 flows a second begin and 100,000 packets a second pass two pods' interfaces.

`python tests/bench/bench_collector_cost.py [SECONDS]`, as root. The agent is a process of its own, with the settings
that `flowatlas collect --source ebpf` has; its user and system time are the kernel's count for the whole process, after
it has read once. What is spent in the packets' path is in neither: see bench_ebpf.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from tests.bench.figures import show
from tests.collector.generator import Generator, load
from tests.collector.network import Network, routed_network

FLOWS_PER_S, PACKETS_EACH = 10_000, 10
SECONDS = 10.0
QUIET = """
table inet quiet {
  chain input { type filter hook input priority 0; meta l4proto udp drop; }
}
"""
"""The server answers no datagram."""
FEW = "net.netfilter.nf_conntrack_udp_timeout=10"
"""The node's connection tracking would be full at its usual 30 s."""
AGENT = """
import sys, pathlib
from collector.agent import run
from collector.config import CollectorConfig
netns, bus, sources, health, port = sys.argv[1:]
run(
    CollectorConfig(
        "node", f"file://{bus}", tuple(sources.split(",")), netns=pathlib.Path(netns),
        tcp_health=health == "1", metrics_address=f"127.0.0.1:{port}",
    )
)
"""


def main() -> None:
    """Measure flows alone, then with everything that the source `ebpf` brings by default."""
    if os.geteuid() != 0:
        print("bench_collector_cost needs root; skipped", file=sys.stderr)
        return
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    with routed_network() as network:
        network.run("server", "nft", "-f", "-", stdin=QUIET)
        network.run("node", "sysctl", "-qw", FEW)
        cost(network, seconds, "flows", "ebpf", "0")
        cost(network, seconds, "all", "ebpf,counters", "1")


def cost(network: Network, seconds: float, name: str, sources: str, health: str) -> None:
    """User and system time of an agent, as a part of one core, and its memory, idle and at the end."""
    with tempfile.TemporaryDirectory() as folder:
        bus, port = Path(folder, "bus"), free_port()
        began = time.monotonic()
        command = [sys.executable, "-c", AGENT, str(network.netns("node")), str(bus), sources, health, str(port)]
        agent = subprocess.Popen(
            command, cwd=Path(__file__).parents[2], env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        )
        try:
            while figure(port, "attached_interfaces") < 2:
                time.sleep(0.01)
            ready_s = time.monotonic() - began
            time.sleep(2.5)
            idle, before = memory_mb(agent.pid), times_s(agent.pid)
            began = time.monotonic()
            with Generator(network) as generator:
                flows = load(generator, seconds, FLOWS_PER_S, PACKETS_EACH)
            took_s = time.monotonic() - began
            user, system = (after - then for after, then in zip(times_s(agent.pid), before, strict=True))
            against = {"flows": flows, "seconds": round(took_s, 1), "tracked": figure(port, "tracked_flows")}
            size = sum(path.stat().st_size for path in bus.rglob("*.seg"))
            show(f"collector_{name}_user", 100 * user / took_s, "% of a core", against)
            show(f"collector_{name}_system", 100 * system / took_s, "% of a core", against)
            show(f"collector_{name}_memory", memory_mb(agent.pid), "MB", {"idle": round(idle, 1)})
            show(f"collector_{name}_ready", ready_s, "s", "from the start of the process to hooks on both interfaces")
            show(f"collector_{name}_bus", size / 1e6, "MB", against)
        finally:
            agent.terminate()
            agent.wait()


def figure(port: int, name: str) -> float:
    """A figure of the agent's own, 0 while it does not tell."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return 0
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"flowatlas_collector_{name}"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def times_s(pid: int) -> tuple[float, float]:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    tick = os.sysconf("SC_CLK_TCK")
    return int(fields[11]) / tick, int(fields[12]) / tick


def memory_mb(pid: int) -> float:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1000


if __name__ == "__main__":
    main()
