"""The topics of Kafka that Flowatlas uses, as they should be, and what is different about those that are there.

Nothing here speaks to a broker (`kafka_topics` does). The invariant: the tables that one node ships have equally many
partitions, so that whatever a node ships lies under one partition number (`share`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from collector.schema import MAX_MESSAGE_BYTES, STATE, TABLES

QUARANTINE_TOPIC: Final = "flowatlas.quarantine.v1"
DEFAULT_PARTITIONS: Final = 12
"""Divides among 1, 2, 3, 4, 6 and 12 pipelines evenly."""
DEFAULT_REPLICATION: Final = 3
DEFAULT_RETENTION_HOURS: Final = 24
MAX_BYTES: Final = MAX_MESSAGE_BYTES + 64 * 1024
"""The largest record batch: a message, and room for its key and headers."""
HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic: as it should be, or as it is. `settings` are Kafka's topic settings."""

    name: str
    partitions: int
    replication: int
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not as it should be, and the command that mends it."""

    topic: str
    what: str
    mend: str


def wanted_topics(
    partitions: int = DEFAULT_PARTITIONS,
    replication: int = DEFAULT_REPLICATION,
    retention_hours: int = DEFAULT_RETENTION_HOURS,
) -> list[Topic]:
    """All topics. A write is acknowledged by all replicas but one, from three replicas on."""
    every = {
        "max.message.bytes": str(MAX_BYTES),
        "compression.type": "uncompressed",  # batches are compressed; what Kafka compresses is refused
        "min.insync.replicas": str(max(1, replication - 1)),
        "unclean.leader.election.enable": "false",
    }
    kept = {"cleanup.policy": "delete", "retention.ms": str(retention_hours * HOUR_MS)}
    state = {"cleanup.policy": "compact", "segment.ms": str(HOUR_MS), "max.compaction.lag.ms": str(24 * HOUR_MS)}
    aside = {"cleanup.policy": "delete", "retention.ms": str(7 * 24 * HOUR_MS), "retention.bytes": str(1 << 30)}
    return [
        *(Topic(table.topic, partitions, replication, {**every, **kept}) for table in TABLES.values()),
        Topic(STATE.topic, 1, replication, {**every, **state}),  # in order, so in one partition
        Topic(QUARANTINE_TOPIC, 1, replication, {**every, **aside}),
    ]


def differences(wanted: Sequence[Topic], found: Mapping[str, Topic], servers: str) -> Iterator[Difference]:
    """What is not as wanted, topic by topic. `servers` go into the commands."""
    at = f"--bootstrap-server {servers}"
    for topic in wanted:
        there = found.get(topic.name)
        if there is None:
            yield Difference(topic.name, "is missing", f"flowatlas topics create --bus kafka://{servers}")
            continue
        if there.partitions < topic.partitions:
            yield Difference(
                topic.name,
                f"has {there.partitions} partitions, not {topic.partitions}",
                f"kafka-topics.sh {at} --alter --topic {topic.name} --partitions {topic.partitions}"
                "  # stop the pipelines once they have caught up: nodes change their partition",
            )
        elif there.partitions > topic.partitions:
            yield Difference(
                topic.name,
                f"has {there.partitions} partitions, not {topic.partitions}",
                f"flowatlas topics create --bus kafka://{servers} --partitions {there.partitions}"
                "  # Kafka takes no partition away: let all have as many, or delete the topic",
            )
        if there.replication != topic.replication:
            yield Difference(
                topic.name,
                f"has {there.replication} replicas, not {topic.replication}",
                f"kafka-reassign-partitions.sh {at} --execute --reassignment-json-file FILE"
                f"  # FILE lists {topic.replication} brokers for each of its {there.partitions} partitions",
            )
        for key, value in topic.settings.items():
            if (is_now := there.settings.get(key)) != value:
                yield Difference(
                    topic.name,
                    f"has {key} {is_now}, not {value}",
                    f"kafka-configs.sh {at} --alter --entity-type topics --entity-name {topic.name} "
                    f"--add-config {key}={value}",
                )
