"""Places on Kafka as snapshots have them: offsets by partition, and of which topic they are.

A topic that was deleted and made anew, or one of its name in another cluster, counts its messages from 0 again. Kafka
gives each a number of its own, so what was known of one is not taken for true of the other. The invariant: an offset is
gone by in the topic alone that it was counted in.

The log of one topic may become another one too: where a replica without the newest messages leads, their numbers are
given to others. So of each offset the epoch is kept of the leader who wrote what is before it, by which Kafka (KIP-320)
tells where the two logs part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from kafka import TopicPartition

from ..errors import ConfigError
from . import Places

_TOPIC: Final = -1
"""In place of a partition's number: behind it stands the topic's own. A whole number too, as versions that know nothing
of it want all that stands there to be."""
_FIRST_EPOCH: Final = -2
"""In place of the number of partition 0: behind it stands the leader's epoch; those of others come below it."""
_BITS: Final = 63
"""Of a topic's number that are kept: as many as any reader of JSON takes."""


def offsets_of(places: Places) -> dict[TopicPartition, int]:
    """Offsets by partition. Raises ConfigError where the places are of another bus."""
    return {partition: place for partition, place in _numbers_of(places).items() if partition.partition >= 0}


def topics_of(places: Places) -> dict[str, int]:
    """The number of each topic of which that is told. Raises ConfigError as `offsets_of` does."""
    return {partition.topic: place for partition, place in _numbers_of(places).items() if partition.partition == _TOPIC}


def epochs_of(places: Places) -> dict[TopicPartition, int]:
    """The leader's epoch of each offset of which that is told. Raises ConfigError as `offsets_of` does."""
    told = {p: epoch for p, epoch in _numbers_of(places).items() if p.partition <= _FIRST_EPOCH}
    return {TopicPartition(p.topic, _FIRST_EPOCH - p.partition): epoch for p, epoch in told.items()}


def places_of(
    offsets: Mapping[TopicPartition, int], topics: Mapping[str, int], epochs: Mapping[TopicPartition, int]
) -> Places:
    """What all were told of."""
    places: Places = {}
    for (topic, partition), offset in offsets.items():
        places.setdefault(topic, {})[str(partition)] = offset
    for topic in places.keys() & topics.keys():
        places[topic][str(_TOPIC)] = topics[topic]
    for topic, partition in epochs.keys() & offsets.keys():
        places[topic][str(_FIRST_EPOCH - partition)] = epochs[TopicPartition(topic, partition)]
    return places


def epochs_at(subscription: Any, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Of each offset at which a consumer stands the leader's epoch, where it has one."""
    stands = {p: subscription.assignment[p].position for p in offsets.keys() & subscription.assignment.keys()}
    return {p: at.leader_epoch for p, at in stands.items() if at and at.offset == offsets[p] and at.leader_epoch >= 0}


def number_of(cluster: Any, topic: str) -> int | None:
    """What tells a topic from others of its name; None where brokers have not told, as those before 2.8 do not."""
    told: UUID | None = cluster.topic_id(topic)
    return told.int % 2**_BITS if told else None


def _numbers_of(places: Places) -> dict[TopicPartition, int]:
    try:
        return {
            TopicPartition(topic, int(partition)): int(place)
            for topic, partitions in places.items()
            for partition, place in partitions.items()
        }
    except (TypeError, ValueError) as error:
        raise ConfigError(f"bus: these are no offsets of Kafka: {error}") from error
