"""TCP health in the lab, a packet in seven to one pod lost: the kernels of its pods count the same segments.

Two nodes share one kernel here, so this also shows that each node tells of its own sockets alone. Needs root.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from collector.metrics import Metrics
from collector.sources.ebpf import EbpfSource
from collector.sources.health import HealthSource
from deploy.lab import needs
from deploy.lab.cluster import MANIFESTS, Lab, LabNode
from deploy.lab.objects import load
from tests.collector.network import records

REASONS = needs.missing()
pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(REASONS), reason="; ".join(REASONS))]

LOSSY = ("app-namespace", "backend")
TRAFFIC_S = 5.0


class Watched:
    """One node's rows, read twice a second until told to stop."""

    def __init__(self, node: LabNode) -> None:
        metrics = Metrics()
        self.rows: list[dict[str, Any]] = []
        self._source = HealthSource(EbpfSource(metrics, node.netns), metrics, node.proc, 4096)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watched:
        self._source.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._source.stop()

    def _run(self) -> None:
        while not self._done.wait(0.5):
            self.rows += records(self._source.read(time.time_ns()), 6)


def resent_segments(pid: int) -> int:
    """RetransSegs of a process's network namespace."""
    lines = Path(f"/proc/{pid}/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(dict(zip(names, values, strict=True))["RetransSegs"])


def test_what_is_lost_to_one_pod_is_sent_again_by_its_connections(tmp_path: Path) -> None:
    (lossy, *_) = (p for k, p in load(MANIFESTS).pods.items() if k[0] == LOSSY[0] and k[1].startswith(LOSSY[1]))
    rules = (
        "table ip loss { chain forward { type filter hook forward priority 10; "
        f"ip daddr {lossy.address} tcp flags & rst == 0 numgen inc mod 7 == 3 drop; }}; }}"
    )  # but for resets, which nobody sends again
    with Lab(tmp_path / "lab", enforce="none", rules=rules) as lab:
        one, two = lab.nodes
        namespaces = [
            one.pid,
            two.pid,
            *(lab.pods[key].pid for key, pod in lab.cluster.pods.items() if not pod.host_network),
        ]
        with Watched(one) as first, Watched(two) as second:
            lab.traffic(TRAFFIC_S)
            deadline = time.monotonic() + 90
            counted, told = 1, Counter[tuple[str, str]]()
            while counted != sum(told.values()):
                assert time.monotonic() < deadline, (counted, told)
                time.sleep(1)
                counted = sum(map(resent_segments, namespaces))
                told = by_ends([*first.rows, *second.rows])
    assert sum(count for ends, count in told.items() if lossy.address in ends) > 0


def by_ends(rows: list[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """Segments sent again, by who opened the connection and who answered."""
    told: Counter[tuple[str, str]] = Counter()
    for row in rows:
        told[row["src"], row["backend"]] += row["retransmits"]
    return told
