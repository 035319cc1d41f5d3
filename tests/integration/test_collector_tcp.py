"""TCP health from the node's sockets, against a real kernel: what is sent again, how long connecting takes."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collector.ebpf.loaded import iterate
from collector.ebpf.tcp import TcpHooks
from collector.metrics import Metrics
from collector.sources import Source
from collector.sources.health import HealthSource
from tests.collector.flow_sources import SOURCES, read_until, started
from tests.collector.network import Network, connected, echo_all, proc_of, routed_network, serving, transfer

pytestmark = pytest.mark.root

ROOT = Path(__file__).resolve().parents[2]
FEW = 6


@pytest.fixture
def network() -> Iterator[Network]:
    with routed_network() as built:
        yield built


@pytest.fixture
def proc(network: Network, tmp_path: Path) -> Path:
    """A /proc of this network alone: other labs on the machine are other nodes."""
    return proc_of(network, tmp_path / "proc")


def health(network: Network, proc: Path, source: str, metrics: Metrics | None = None) -> AbstractContextManager[Source]:
    metrics = metrics or Metrics()
    return started(HealthSource(SOURCES[source](metrics, network.netns("node")), metrics, proc, 4096))


def is_over(rows: list[dict[str, Any]]) -> bool:
    return any(row["closed"] for row in rows)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("dialled", ["10.96.0.10", "fd96::10"])
def test_connecting_and_a_round_trip_are_told_once_with_the_flow(
    network: Network, proc: Path, source: str, dialled: str
) -> None:
    """Each source, dialled at a Service's address that the node translates, both ends' sockets being on the node."""
    if source == "packets" and dialled == "fd96::10":
        pytest.skip("one family is enough for packets")
    answering = "fd02::2" if ":" in dialled else "10.2.0.2"
    with serving(network, answering, echo_all), health(network, proc, source) as flows:
        began = time.perf_counter()
        sock = connected(network, dialled, 80)
        took_us = (time.perf_counter() - began) * 1e6
        with sock:
            transfer(sock, 50_000)
            rows = read_until(flows, lambda rows: any(row["connect_us"] for row in rows))
        rows += read_until(flows, is_over) if source != "conntrack" else []
    mine = [row for row in rows if row["dst"] == dialled]
    (connect_us,) = (row["connect_us"] for row in mine if row["connect_us"])
    assert 0 < connect_us <= took_us
    assert any(0 < row["srtt_us"] < 1_000_000 for row in mine)
    assert sum(row["retransmits"] for row in rows) == 0


def test_who_waits_for_a_processor_looks_at_sockets_no_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under a limit on the container: else a look that took a second would be the last for a hundred."""
    looks: list[float] = []

    def slow(*arguments: Any) -> Any:
        looks.append(time.monotonic())
        time.sleep(1.0)
        return iterate(*arguments)

    with contextlib.closing(TcpHooks(64)) as hooks:
        monkeypatch.setattr("collector.ebpf.tcp.iterate", slow)
        deadline = time.monotonic() + 60
        while len(looks) < 2 and time.monotonic() < deadline:
            hooks.take()
            time.sleep(0.05)
    assert len(looks) == 2


def test_what_is_lost_on_the_way_is_sent_again_by_that_connection_alone(network: Network, proc: Path) -> None:
    """As many segments as the kernel of the namespace counts itself."""
    with serving(network, "10.2.0.2", echo_all), health(network, proc, "ebpf") as flows:
        other = connected(network, "10.96.0.10", 80)
        transfer(other, 10_000)
        other.close()
        with connected(network, "10.96.0.10", 80) as sock:
            port = sock.getsockname()[1]
            before = resent_segments(network, "client") + resent_segments(network, "server")
            network.run(
                "node",
                "nft",
                "-f",
                "-",
                stdin="table ip loss { chain forward { type filter hook forward priority 10; "
                f"tcp dport 8080 tcp sport {port} numgen inc mod 10 == 3 drop; }}; }}",
            )
            transfer(sock, 2_000_000)
            network.run("node", "nft", "delete", "table", "ip", "loss")
            transfer(sock, 10)
        rows = read_until(flows, lambda rows: sum(row["closed"] for row in rows) >= 2)
        counted = resent_segments(network, "client") + resent_segments(network, "server") - before
    assert counted > 0
    assert sum(row["retransmits"] for row in rows if row["src_port"] == port) == counted
    assert sum(row["retransmits"] for row in rows) == counted


def test_a_socket_that_was_open_before_is_taken_in(network: Network, proc: Path) -> None:
    with serving(network, "10.2.0.2", echo_all), connected(network, "10.96.0.10", 80) as sock:
        transfer(sock, 1000)
        with health(network, proc, "ebpf") as flows:
            transfer(sock, 50_000)
            rows = read_until(flows, lambda rows: any(row["srtt_us"] for row in rows))
    assert not any(row["connect_us"] for row in rows)


def test_sockets_of_other_nodes_are_not_told(network: Network, tmp_path: Path) -> None:
    """One kernel, several nodes: only namespaces with a process in the node's /proc count."""
    metrics = Metrics()
    own = proc_of(network, tmp_path, "server")
    flows = HealthSource(SOURCES["ebpf"](metrics, network.netns("node")), metrics, own, 4096)
    flows.start()
    try:
        with serving(network, "10.2.0.2", echo_all):
            with connected(network, "10.96.0.10", 80) as sock:
                transfer(sock, 50_000)
            rows = read_until(flows, is_over)
    finally:
        flows.stop()
    assert any(row["srtt_us"] for row in rows), "the answerer's socket is told"
    assert not any(row["connect_us"] for row in rows), "the opener's is not"


def test_more_endings_than_fit_are_counted(network: Network) -> None:
    metrics = Metrics()
    flows = HealthSource(SOURCES["ebpf"](metrics, network.netns("node")), metrics, Path("/proc"), FEW)
    flows.start()
    try:
        with serving(network, "10.2.0.2", echo_all):
            for _ in range(4 * FEW):
                with connected(network, "10.96.0.10", 80) as sock:
                    transfer(sock, 10)
            read_until(flows, lambda rows: sum(row["closed"] for row in rows) == 4 * FEW)
    finally:
        flows.stop()
    assert metrics.value("tcp_observations_total", result="table_full") > 0


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv")
@pytest.mark.parametrize(("capabilities", "expected"), [("+bpf,+perfmon", "True"), ("+perfmon", "privileges")])
def test_two_capabilities_are_enough_and_needed(capabilities: str, expected: str) -> None:
    code = (
        "from collector.ebpf.loaded import HookError\n"
        "from collector.ebpf.tcp import TcpHooks\n"
        "try:\n    hooks = TcpHooks(64); print(hooks.take() is not None); hooks.close()\n"
        "except HookError as error: print(error.reason)\n"
    )
    command = ["setpriv", f"--bounding-set=-all,{capabilities}", f"--inh-caps=-all,{capabilities}", "--"]
    done = subprocess.run(
        [*command, sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == expected


def resent_segments(network: Network, name: str) -> int:
    """RetransSegs of the namespace, as net/ipv4/proc.c shows it."""
    lines = Path(f"/proc/{network.pids[name]}/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(dict(zip(names, values, strict=True))["RetransSegs"])


def test_the_joined_columns_are_as_the_wire_wants_them(network: Network, proc: Path) -> None:
    with health(network, proc, "ebpf") as flows:
        columns = flows.read(time.time_ns())
    assert {np.asarray(columns[name]).dtype for name in ("connect_us", "srtt_us", "retransmits")} == {np.dtype("u4")}
