"""A Kafka in memory, with as much of the client as our readers use: topics with partitions, groups that divide them.

What a real one may do late, or not at all yet, is done by chance: a member learns late that its group divides anew, a
consumer that topics have changed. The invariant: what the real one promises holds here, and nothing more.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final
from uuid import UUID

from kafka import OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors
from kafka.structs import MemberState

from collector.schema import Batch
from pipeline.bus import Message
from tests.pipeline.shipments import message

AT_ONCE: Final = 4
"""Messages of a partition that a poll brings at most."""


@dataclass
class Topic:
    """One topic, until it is deleted."""

    number: UUID
    logs: list[list[Message]]
    first: list[int]
    """Where each log begins: what was before is deleted."""
    epochs: list[list[int]]
    """The leader's epoch in which each message came."""
    epoch: int = 0

    def parts(self, partition: int, offset: int, epoch: int) -> int:
        """Where a log parts from the one in which what is before an offset came in an epoch (KIP-320)."""
        epochs = self.epochs[partition]
        return offset if epoch < 0 else min(offset, sum(one <= epoch for one in epochs))


@dataclass
class Group:
    """What a coordinator knows of a group."""

    offsets: dict[TopicPartition, OffsetAndMetadata] = field(default_factory=dict)
    members: dict[Consumer, bool] = field(default_factory=dict)
    """Each with whether it has joined the generation that is to come."""
    generation: int = 0
    is_dividing: bool = False

    def divide(self) -> None:
        """Begin a new generation."""
        self.is_dividing = True

    def leave(self, member: Consumer) -> None:
        """It goes, or was not heard of for too long."""
        if self.members.pop(member, None) is not None:
            self.divide()
            self.go_on()

    def join(self, member: Consumer) -> None:
        if not self.is_dividing:
            self.divide()
        self.members[member] = True
        self.go_on()

    def go_on(self) -> None:
        """Where all have joined they are given partitions."""
        if not self.is_dividing or not all(self.members.values()):
            return
        self.generation += 1
        self.is_dividing = False
        them = sorted(self.members, key=lambda one: one.name)
        for place, member in enumerate(them):
            self.members[member] = False
            member.given = {p for p in them[0].seen() if p.partition * len(them) // them[0].counts(p.topic) == place}


class Cluster:
    """Topics and groups."""

    def __init__(self, chance: random.Random, topics: Iterable[str], partitions: int) -> None:
        self.chance = chance
        self.topics: dict[str, Topic] = {}
        self.groups: dict[str, Group] = {}
        self._made = 0
        for name in topics:
            self.make(name, partitions)

    def make(self, name: str, partitions: int) -> None:
        """Make a topic, anew where it is there: groups forget it, too."""
        self._made += 1
        self.topics[name] = Topic(
            UUID(int=self._made), [[] for _ in range(partitions)], [0] * partitions, [[] for _ in range(partitions)]
        )
        for group in self.groups.values():
            group.offsets = {p: at for p, at in group.offsets.items() if p.topic != name}

    def divide(self, name: str, partitions: int) -> None:
        """Give a topic more partitions."""
        topic = self.topics[name]
        while len(topic.logs) < partitions:
            topic.logs.append([])
            topic.first.append(0)
            topic.epochs.append([])

    def cut(self, name: str, chance: random.Random) -> None:
        """Another leader has not all of what came last; who had it is told of another epoch."""
        topic = self.topics[name]
        topic.epoch += 1
        for log, first, epochs in zip(topic.logs, topic.first, topic.epochs, strict=True):
            end = chance.randint(first, len(log))
            del log[end:], epochs[end:]

    def put(self, shipped: Batch, partition: int) -> None:
        topic = self.topics[shipped.topic]
        log = topic.logs[partition]
        log.append(message(shipped, partition=str(partition), offset=len(log)))
        topic.epochs[partition].append(topic.epoch)

    def group(self, name: str) -> Group:
        return self.groups.setdefault(name, Group())


class Consumer:
    """What our readers use of kafka-python's."""

    def __init__(
        self, cluster: Cluster, group: str, name: str, reset: Callable[[Any], None], rest: Callable[[], None]
    ) -> None:
        """`reset` is told where reading goes on elsewhere, and others may go on while we `rest`."""
        self.name = name
        self._rest = rest
        self.given: set[TopicPartition] | None = None
        """What the group's new generation has for us."""
        self._cluster_of = cluster
        self._group = cluster.group(group)
        self._reset = reset
        self._topics: list[str] = []
        self._listener: Any = None
        self._view: dict[str, tuple[UUID, int]] = {}
        self._is_member = self._is_noticed = False
        self.is_cut = False
        """Whether its process is dead: nobody hears of it any more."""
        self._generation = -1
        self._paused: set[TopicPartition] = set()
        self._at: dict[TopicPartition, int] = {}
        self._wanted: dict[TopicPartition, SimpleNamespace] = {}
        self._cluster = SimpleNamespace(topic_id=lambda topic: self._view[topic][0] if topic in self._view else None)
        self._subscription = SimpleNamespace(
            assignment=self._wanted, seek=lambda partition, told: self._stand(partition, told.offset, told.leader_epoch)
        )
        self._coordinator = SimpleNamespace(need_rejoin=self._need_rejoin, fetch_committed_offsets=self._committed)
        self._look()

    # what is known of the cluster

    def seen(self) -> list[TopicPartition]:
        """All partitions of our topics, as far as we know."""
        return [TopicPartition(topic, p) for topic in self._topics for p in range(self.counts(topic))]

    def counts(self, topic: str) -> int:
        return self._view[topic][1]

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self.counts(topic))) if topic in self._view else None

    def _look(self) -> None:
        before = dict(self._view)
        self._view.update({name: (one.number, len(one.logs)) for name, one in self._cluster_of.topics.items()})
        counts = {name: count for name, (_, count) in self._view.items()}
        if self._is_member and counts != {name: count for name, (_, count) in before.items()}:
            self._group.divide()

    # groups

    def subscribe(self, topics: list[str], listener: Any) -> None:
        self._topics, self._listener = topics, listener

    def _need_rejoin(self) -> bool:
        self._is_noticed |= self._is_member and self._group.is_dividing and self._chance() < 0.6
        return self._is_noticed or not self._is_member

    def _join(self) -> None:
        """What a poll does for the group."""
        group = self._group
        if self._is_member and self not in group.members:  # given up meanwhile
            self._is_member = self._is_noticed = False
            lost = set(self._wanted)
            self._assign(())
            self._listener.on_partitions_lost(lost)
        if self.given is None and self._need_rejoin() and not group.members.get(self, False):
            if self._wanted:
                revoked = set(self._wanted)
                self._listener.on_partitions_revoked(revoked)
                self._assign(())
            self._is_member = True
            group.join(self)
        if self.given is not None:
            given, self.given = self.given, None
            self._is_noticed, self._generation = False, group.generation
            self._assign(given)
            self._listener.on_partitions_assigned(given)

    def _committed(self, partitions: list[TopicPartition], timeout_ms: int = 0) -> Mapping[TopicPartition, Any]:
        return {p: self._group.offsets[p] for p in partitions if p in self._group.offsets}

    def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata], timeout_ms: int = 0) -> None:
        if self._listener is not None:
            if self not in self._group.members or self._generation != self._group.generation:
                raise kafka_errors.CommitFailedError("the group has gone on")
            if self._group.members[self]:
                raise kafka_errors.RebalanceInProgressError("the group divides anew")
        told = {
            p: at if isinstance(at, OffsetAndMetadata) else OffsetAndMetadata(at, "", -1) for p, at in offsets.items()
        }
        self._group.offsets |= told
        if self._chance() < 0.02:
            raise kafka_errors.KafkaTimeoutError("the answer was lost")

    def group_metadata(self) -> Any:
        is_stable = self._is_member and not self._group.is_dividing
        return SimpleNamespace(state=MemberState.STABLE if is_stable else MemberState.REBALANCING)

    # reading

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        self._assign(partitions)

    def _assign(self, partitions: Iterable[TopicPartition]) -> None:
        wanted = set(partitions)
        for gone in self._wanted.keys() - wanted:
            del self._wanted[gone]
        self._paused &= wanted
        for new in sorted(wanted - self._wanted.keys()):
            told = self._group.offsets.get(new)
            self._wanted[new] = SimpleNamespace(position=None)
            if told:
                self._stand(new, told.offset, told.leader_epoch)

    def assignment(self) -> set[TopicPartition]:
        return set(self._wanted)

    def pause(self, *partitions: TopicPartition) -> None:
        self._paused |= set(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self._paused -= set(partitions)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._stand(partition, offset)

    def _stand(self, partition: TopicPartition, offset: int, epoch: int = -1) -> None:
        self._wanted[partition].position = OffsetAndMetadata(offset, "", epoch)

    def position(self, partition: TopicPartition, timeout_ms: int = 0) -> int:
        if self._wanted[partition].position is None:
            self._stand(partition, self._topic(partition).first[partition.partition])
        return int(self._wanted[partition].position.offset)

    def beginning_offsets(self, partitions: Iterable[TopicPartition], timeout_ms: int = 0) -> dict[TopicPartition, int]:
        return {p: self._topic(p).first[p.partition] for p in partitions}

    def end_offsets(self, partitions: Iterable[TopicPartition], timeout_ms: int = 0) -> dict[TopicPartition, int]:
        return {p: len(self._topic(p).logs[p.partition]) for p in partitions}

    def highwater(self, partition: TopicPartition) -> int | None:
        return None

    def poll(self, timeout_ms: int) -> dict[TopicPartition, list[Message]]:
        if self._chance() < 0.5:
            self._rest()
        if self._chance() < 0.3:
            self._look()
        if self._listener is not None:
            self._join()
        polled: dict[TopicPartition, list[Message]] = {}
        for p, one in self._wanted.items():
            if p in self._paused or self._chance() < 0.2:
                continue
            topic = self._topic(p)
            if topic.number != self._view[p.topic][0]:
                self._look()
                continue
            at, log, first = self.position(p), topic.logs[p.partition], topic.first[p.partition]
            if (parts := topic.parts(p.partition, at, one.position.leader_epoch)) < at:
                self._stand(p, parts, topic.epochs[p.partition][parts - 1] if parts else -1)
            elif not first <= at <= len(log):
                self._reset((p, at, first))
                self._stand(p, first)
            elif messages := log[at : at + self._cluster_of.chance.randint(1, AT_ONCE)]:
                polled[p] = messages
                at += len(messages)
                self._stand(p, at, topic.epochs[p.partition][at - 1])
        return polled

    def close(self, autocommit: bool = False, timeout_ms: int = 0) -> None:
        if not self.is_cut:
            self._group.leave(self)
        self._is_member = False

    def _topic(self, partition: TopicPartition) -> Topic:
        return self._cluster_of.topics[partition.topic]

    def _chance(self) -> float:
        return self._cluster_of.chance.random()
