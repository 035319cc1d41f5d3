"""Places on Kafka as snapshots have them: offsets by partition, and of which topic they are.

A topic that was deleted and made anew, or one of its name in another cluster, counts its messages from 0 again. Kafka
gives each a number of its own, so what was known of one is not taken for true of the other. The invariant: an offset is
gone by in the topic alone that it was counted in.

The log of one topic may become another one too: where a replica without the newest messages leads, their numbers are
given to others. So of each offset the epoch is kept of the leader who wrote what is before it, by which Kafka (KIP-320)
tells where the two logs part.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from operator import attrgetter
from typing import Any, Final, NamedTuple
from uuid import UUID

from kafka import OffsetAndMetadata, TopicPartition

from ..errors import ConfigError
from . import Places

_TOPIC: Final = -1
"""In place of a partition's number: behind it stands the topic's own. A whole number too, as versions that know nothing
of it want all that stands there to be."""
_FIRST_EPOCH: Final = -2
"""In place of the number of partition 0: behind it stands the leader's epoch; those of others come below it."""
_BITS: Final = 63
"""Of a topic's number that are kept: as many as any reader of JSON takes."""


class Told(NamedTuple):
    """What places tell."""

    offsets: dict[TopicPartition, int]
    topics: dict[str, int]
    """The number of each topic of which that is told."""
    epochs: dict[TopicPartition, int]
    """The leader's epoch of each offset of which that is told."""


def told_by(places: Places) -> Told:
    """Take places apart. Raises ConfigError where they are of another bus."""
    told = Told({}, {}, {})
    try:
        for topic, partitions in places.items():
            for number, place in ((int(partition), int(place)) for partition, place in partitions.items()):
                if number >= 0:
                    told.offsets[TopicPartition(topic, number)] = place
                elif number == _TOPIC:
                    told.topics[topic] = place
                else:
                    told.epochs[TopicPartition(topic, _FIRST_EPOCH - number)] = place
    except (TypeError, ValueError) as error:
        raise ConfigError(f"bus: these are no offsets of Kafka: {error}") from error
    return told


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


def positions_at(subscription: Any, partitions: Collection[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata]:
    """Where a consumer stands in each of them, as far as it does."""
    mine: Mapping[TopicPartition, Any] = subscription.assignment
    return {p: at for p in partitions if p in mine and (at := mine[p].position) is not None}


def later_of(*places: OffsetAndMetadata | None) -> OffsetAndMetadata | None:
    """Of places in one partition the one up to which more was read: in a log that was cut, what was read under a later
    leader, else what has the higher number. None where there are none."""
    known = [at for at in places if at is not None]
    by_epoch = all(at.leader_epoch >= 0 for at in known)
    key = ("leader_epoch", "offset") if by_epoch else ("offset", "leader_epoch")
    return max(known, key=attrgetter(*key), default=None)


def epochs_at(subscription: Any, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Of each offset at which a consumer stands the leader's epoch, where it has one."""
    stands = positions_at(subscription, offsets)
    return {p: at.leader_epoch for p, at in stands.items() if at.offset == offsets[p] and at.leader_epoch >= 0}


def number_of(cluster: Any, topic: str) -> int | None:
    """What tells a topic from others of its name; None where brokers have not told, as those before 2.8 do not."""
    told: UUID | None = cluster.topic_id(topic)
    return told.int % 2**_BITS if told else None
