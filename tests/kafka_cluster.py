"""Three real brokers on this machine, each controller too: one may be killed at any time and nothing is lost.

Topics have three replicas, two of which must have a write before it is acknowledged. For tests alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Final

from tests.kafka_broker import KafkaBroker, free_ports, new_cluster_id

SETTINGS: Final[Mapping[str, str]] = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "replica.lag.time.max.ms": "5000",
    "controller.quorum.election.timeout.ms": "500",
    "controller.quorum.fetch.timeout.ms": "1000",
}
START_SECONDS: Final = 120.0


class KafkaCluster:
    """Lives as long as its `with` block; `brokers` are killed and started one by one."""

    def __init__(self, count: int = 3, settings: Mapping[str, str] | None = None) -> None:
        controllers = dict(enumerate(free_ports(count), 1))
        cluster = new_cluster_id()
        whole = {**SETTINGS, **(settings or {})}
        self.brokers = [KafkaBroker(whole, quorum=(node, cluster, controllers)) for node in controllers]
        self._open = ExitStack()

    @property
    def bootstrap(self) -> str:
        """All brokers, as clients want them."""
        return ",".join(broker.bootstrap for broker in self.brokers)

    def __enter__(self) -> KafkaCluster:
        with ExitStack() as opened:
            for broker in self.brokers:
                broker.prepare()
                opened.push(broker)
            for broker in self.brokers:
                broker.launch()
            for broker in self.brokers:
                broker.await_answer(START_SECONDS)
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
