"""Brokers that are killed under load: what was shipped comes, each batch once after it is told apart by its name, and
each node's in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.bus.kafka_topics import KafkaTopics
from pipeline.bus.topics import wanted_topics
from tests.faults.counts import often
from tests.faults.shipping import PROGRESS_SECONDS, await_progress, reconcile, under_load
from tests.kafka_cluster import KafkaCluster
from tests.pipeline.bus.buses import refused_connections

pytestmark = pytest.mark.kafka

KILLS = often(3, 20)


def test_a_broker_is_killed_again_and_again_and_nothing_is_lost_or_there_twice(tmp_path: Path) -> None:
    with refused_connections(), KafkaCluster() as cluster:
        url = f"kafka://{cluster.bootstrap}"
        with KafkaTopics(url) as topics:
            topics.create(wanted_topics(partitions=4, replication=3))
        with under_load(url, tmp_path) as (shippers, takers):
            for kill in range(KILLS):
                await_progress(shippers, takers)
                victim = cluster.brokers[kill % len(cluster.brokers)]
                victim.stop(graceful=False)
                await_progress(shippers, takers)  # two of three go on
                victim.start(PROGRESS_SECONDS)
    reconcile(shippers, takers)
