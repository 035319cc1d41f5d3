"""The size of an installation, from what a cluster sends and what was measured: figures of docs/explanation/scaling.md.

Nothing is measured here. `tests/docs/test_scaling.py` holds the page against it, and it against a simulation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is to be carried, and what a part carries."""

    nodes: int = 10_000
    flows_per_second: float = 30e6
    interval_s: float = 5.0
    """Of the collectors: a node ships one batch of flows so often."""
    wire_bytes_per_flow: float = 18.0
    """At 15,000 rows a batch (docs/explanation/wire.md)."""
    other_messages_per_second: float = 3.0
    """Of one node at an interval of 1 s: counters, DNS and drops, a few kilobytes each."""
    worker_flows_per_second: float = 300_000.0
    """One worker on one core, all metrics and the history written (README)."""
    history_bytes_per_flow: float = 23.0
    utilization: float = 0.6
    """How much of a worker is planned for: the rest is for uneven shares and for catching up."""
    partitions_per_worker: int = 3
    replication: int = 3
    retention_hours: int = 6
    broker_bytes_per_second: float = 150e6
    """What is written to one broker's disks, replicas too, planned with as much again in reserve."""

    @property
    def messages_per_second(self) -> float:
        """On all topics."""
        return self.nodes * (1 + self.other_messages_per_second) / self.interval_s

    @property
    def ingress(self) -> float:
        """Bytes a second that collectors send."""
        return self.flows_per_second * self.wire_bytes_per_flow

    @property
    def workers(self) -> int:
        """Processes, a core each."""
        return math.ceil(self.flows_per_second / self.worker_flows_per_second / self.utilization)

    @property
    def partitions(self) -> int:
        """Of each table's topic."""
        return self.workers * self.partitions_per_worker

    @property
    def brokers(self) -> int:
        """For what is written, with one that may be away."""
        return math.ceil(self.ingress * self.replication / self.broker_bytes_per_second) + 1

    @property
    def kafka_bytes(self) -> float:
        """On all brokers' disks together."""
        return self.ingress * self.replication * self.retention_hours * 3600

    @property
    def history_bytes_per_day(self) -> float:
        """Of the lake."""
        return self.flows_per_second * self.history_bytes_per_flow * DAY_S


def table(cluster: Cluster) -> str:
    """The figures, as the page has them."""
    rows = (
        ("flows a second and node", f"{cluster.flows_per_second / cluster.nodes:,.0f}"),
        ("batches of flows", f"{cluster.flows_per_second / cluster.nodes * cluster.interval_s:,.0f} rows each, "
         f"{cluster.nodes / cluster.interval_s:,.0f} a second"),
        ("messages on all topics", f"{cluster.messages_per_second:,.0f} a second"),
        ("from collectors to Kafka", f"{cluster.ingress / 1e6:,.0f} MB/s, "
         f"{cluster.ingress / cluster.nodes * 8 / 1e6:.2f} Mbit/s a node"),
        ("workers", f"{cluster.workers}, a core each"),
        ("partitions of each table's topic", f"{cluster.partitions}"),
        ("brokers", f"{cluster.brokers}"),
        ("replicas", f"{cluster.replication}, two of which must have a write"),
        ("Kafka's disks", f"{cluster.kafka_bytes / 1e12:,.0f} TB for {cluster.retention_hours} h"),
        ("history", f"{cluster.history_bytes_per_day / 1e12:,.0f} TB a day"),
    )  # fmt: skip
    return "".join(f"| {what} | {figure} |\n" for what, figure in rows)


if __name__ == "__main__":
    print(table(Cluster()), end="")  # noqa: T201 - what it is for
