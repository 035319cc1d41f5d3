"""The written model of a large installation: the page has its figures, and a simulation bears them out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kafka.partitioner.default import murmur2

from docs.scaling import Cluster, table
from pipeline.bus.share import Share

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "scaling.md"
OUTAGE_S = 600


def loads(cluster: Cluster, cloud: str) -> np.ndarray:
    """Flows a second that each worker reads: nodes by Kafka's hash to partitions, partitions by share to workers."""
    shares = [Share(0, 1).divided(worker, cluster.workers) for worker in range(cluster.workers)]
    owner = np.empty(cluster.partitions, np.int64)
    for share in shares:
        owner[[p for p in range(cluster.partitions) if share.takes(p)]] = share.ordinal
    names = [f"{cloud}-{n // 250}-{n % 250}".encode() for n in range(cluster.nodes)]
    partitions = np.array([(murmur2(name) & 0x7FFFFFFF) % cluster.partitions for name in names])
    nodes = np.bincount(owner[partitions], minlength=cluster.workers)
    flows: np.ndarray = nodes * (cluster.flows_per_second / cluster.nodes)
    return flows


def caught_up_after(cluster: Cluster, load: np.ndarray, step_s: float = 1.0) -> float:
    """Seconds after an outage of OUTAGE_S until no worker has anything left, step by step."""
    queue = load * OUTAGE_S
    seconds = 0.0
    while queue.max() > 0:
        queue = np.maximum(0.0, queue + (load - cluster.worker_flows_per_second) * step_s)
        seconds += step_s
        assert seconds < 86_400, "a worker never catches up"
    return seconds


def test_the_page_has_the_figures_of_the_model() -> None:
    assert table(Cluster()) in PAGE.read_text()


@pytest.mark.parametrize("cloud", ["ip-10-0", "gke-pool-1a2b", "node"])
def test_no_worker_is_given_more_than_it_carries_however_nodes_are_named(cloud: str) -> None:
    cluster = Cluster()
    load = loads(cluster, cloud)
    assert load.sum() == pytest.approx(cluster.flows_per_second)
    busy = load / cluster.worker_flows_per_second
    assert busy.mean() == pytest.approx(cluster.utilization, abs=0.01)
    assert busy.max() < 0.9, "the page says so"


@pytest.mark.parametrize("cloud", ["ip-10-0", "gke-pool-1a2b", "node"])
def test_ten_minutes_of_outage_are_caught_up_as_the_page_says(cloud: str) -> None:
    cluster = Cluster()
    load = loads(cluster, cloud)
    assert caught_up_after(cluster, np.full(1, load.mean())) < 16 * 60
    assert caught_up_after(cluster, load) < 80 * 60
    assert OUTAGE_S + caught_up_after(cluster, load) < cluster.retention_hours * 3600, "Kafka keeps it for so long"


def test_without_reserve_a_worker_is_given_too_much() -> None:
    """The reserve is there for uneven shares: with every core planned full, some are given more than they carry."""
    tight = Cluster(utilization=0.95)
    assert loads(tight, "node").max() > tight.worker_flows_per_second
