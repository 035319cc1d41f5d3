"""A member of a consumer group whose partitions change hands without a message lost or read twice.

What was polled is settled, as the committed offset and a note beside it, before partitions are let go. The invariant:
whoever is given a partition reads on behind the last offset settled and knows the note beside it, and whoever had it
before and has polled more is told by OustedError that this counts for nothing.

A rebalance is seen before it is joined (`is_leaving`), so that there is time to settle while we still may. While
anything is unsettled polls are short ones and do not join. Where a rebalance begins in between nevertheless, we are
ousted, as a member is that was not heard of for SESSION_SECONDS.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from kafka import OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors

from ..errors import OustedError, TransientError
from . import Holder, Message, Partition, Places
from .kafka import ANSWER_SECONDS, KafkaReader, sorted_errors
from .kafka_places import later_of
from .kafka_spans import KafkaSpans

TURN_SECONDS: Final = 0.02
"""How long a poll waits between two looks while something is unsettled."""

_OUSTED: Final = (
    kafka_errors.CommitFailedError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.RebalanceInProgressError,
    kafka_errors.UnknownMemberIdError,
    kafka_errors.FencedInstanceIdError,
)


class KafkaMember(KafkaReader):
    """One member of a group. Without a holder it commits as the others do: at least once where partitions move."""

    def __init__(self, url: str, group: str, topics: Sequence[str], options: Mapping[str, Any] | None = None) -> None:
        super().__init__(url, group, topics, options)
        self._holder: Holder | None = None
        self._settled: dict[TopicPartition, int] = {}
        self._given: set[TopicPartition] | None = None
        """What the group has just given us, paused until we know where to go on."""
        self._spans: dict[TopicPartition, tuple[int, int]] = {}
        """What is to be read again before the group is joined."""
        self._again: KafkaSpans | None = None
        self._is_ousted = False
        self.is_leaving = False
        self.held: frozenset[Partition] | None = None

    @property
    def is_shared(self) -> bool:
        """Others may come at any time."""
        return True

    def attend(self, holder: Holder) -> None:
        """Hand partitions over with the holder's notes."""
        self._holder = holder

    def start(self, places: Places | None = None) -> None:
        """Connect; `poll` joins the group. Raises as KafkaReader does."""
        super().start(places)
        if self._holder is not None:
            self._behind = {}  # places are ours once the group has given them to us

    def notes(self) -> Mapping[Partition, str]:
        """What was settled last beside the offset of each partition. Raises TransientError."""
        with sorted_errors():
            consumer = self._connected()
            try:
                found = [
                    TopicPartition(topic, p)
                    for topic in self._topics
                    for p in consumer.partitions_for_topic(topic) or ()
                ]
                return {_named(p): told.metadata for p, told in committed_of(consumer, found).items()}
            finally:
                consumer.close(autocommit=False)

    def recall(self, spans: Mapping[Partition, tuple[int, int]]) -> None:
        """Let `poll` give first what of these spans is beyond the places that `start` was told."""
        for (topic, number), (since, until) in spans.items():
            partition = TopicPartition(topic, int(number))
            at = max(since, self._told.get(partition, 0))
            if at < until:
                self._spans[partition] = at, until

    @property
    def is_recalling(self) -> bool:
        """Whether there is more of that."""
        return bool(self._spans)

    def poll(self, timeout_s: float) -> list[Message]:
        """New messages; those that are to be read again before any other."""
        if self._spans:
            with sorted_errors():
                return self._recalled(timeout_s)
        return super().poll(timeout_s)

    def stop(self) -> None:
        """Leave the group and close; safe to call twice."""
        if self._again is not None:
            self._again.close()
            self._again = None
        super().stop()

    def settle(self, version: int) -> None:
        """Let snapshot `version` be what others go on from. Raises OustedError, TransientError."""
        assert self._holder is not None  # noqa: S101 - attend comes before
        if self._is_ousted:
            raise OustedError("bus: partitions went before they were settled")
        self._aside.flush()
        epochs = self._epochs_at(self._behind)
        offsets = {
            p: OffsetAndMetadata(at, self._holder.note(_named(p), version, at), epochs.get(p, -1))
            for p, at in self._behind.items()
            if at != self._settled.get(p)
        }
        if not offsets:
            return
        with sorted_errors():
            try:
                self._consumer.commit(offsets, timeout_ms=int(ANSWER_SECONDS * 1000))
            except _OUSTED as error:
                raise OustedError(f"bus: the group went on without us: {error}") from error
        self._settled |= {p: told.offset for p, told in offsets.items()}
        self.is_leaving = False

    def caught_up(self) -> bool:
        """Whether we stand at the end of all our partitions, or others are about to go on with them."""
        if self._spans:
            return False
        if self._holder is not None and self._behind and self._is_rebalancing():
            return True
        return self._given is None and super().caught_up()

    def _polled(self, timeout_s: float) -> Mapping[TopicPartition, list[Message]]:
        if self._holder is None:
            return super()._polled(timeout_s)
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = max(0.0, deadline - time.monotonic())
            is_settled = self._is_settled()
            self.is_leaving = not is_settled and self._is_rebalancing()
            if self.is_leaving:
                return {}
            polled = super()._polled(left_s if is_settled else 0.0)
            if self._is_ousted:
                raise OustedError("bus: partitions went before they were settled")
            if self._given is not None:
                self._take_over(self._given, self._holder)
            if polled or left_s <= 0:
                return polled
            if not is_settled:
                time.sleep(min(TURN_SECONDS, left_s))

    def _recalled(self, timeout_s: float) -> list[Message]:
        """Read on in what is to be read again, and stand behind it once all was read."""
        if self._again is None:
            self._again = KafkaSpans(self._connected(), self._spans, int(ANSWER_SECONDS * 1000))
        if not self._again.is_ended:
            return self._again.poll(timeout_s)
        self._lost += self._again.lost
        self._told |= {p: until for p, (_, until) in self._spans.items()}
        self._spans = {}
        self._again.close()
        self._again = None
        return []

    def _take_over(self, given: set[TopicPartition], holder: Holder) -> None:
        """Go on with what we were given: behind what was settled last, or where we have left it ourselves."""
        self._see_topics()
        committed = committed_of(self._consumer, sorted(given))
        if self._given is not given:
            return  # the group has changed its mind meanwhile
        settled = {p: told.offset for p, told in committed.items()}
        places = {p: at for p in given if (at := later_of(self._told_of(p), committed.get(p))) is not None}
        starts = {p: at.offset for p, at in places.items()}
        kept = given if self.held is None else {p for p in given if _named(p) in self.held}
        ours = {p for p, at in places.items() if p in kept and _is_same(at, self._told_of(p))}  # else forgotten since
        told = {p: committed[p].metadata if p in committed else "" for p in given}
        holder.take_over({_named(p): (starts.get(p, 0), text) for p, text in told.items()}, _all_named(ours))
        self._epochs |= {p: at for p, at in places.items() if at.leader_epoch >= 0}
        for p, at in starts.items():
            self._seek(p, at)
        self._told |= starts
        self._behind, self._settled = starts, settled
        self._consumer.resume(*given)
        self._given = None
        self.held = _all_named(given)

    def _is_rebalancing(self) -> bool:
        """Whether the next poll joins the group anew. `group_metadata` does not tell before it has begun to: the client
        (3.0) has no public way to see it coming."""
        return bool(self._consumer._coordinator.need_rejoin())

    def _is_settled(self) -> bool:
        return all(self._settled.get(p) == at for p, at in self._behind.items())

    def _go_back(self, partition: TopicPartition, offset: int) -> None:
        """What was settled is of another log, though it may come to have the same number."""
        super()._go_back(partition, offset)
        self._settled.pop(partition, None)

    def _go_on(self, partitions: Iterable[TopicPartition]) -> None:
        """Called in the client's own thread, which may not wait: the next turn of a poll takes them over."""
        given = set(partitions)
        if self._holder is None:
            super()._go_on(given)
            self.held = _all_named(given)
            return
        self._consumer.pause(*given)
        self._given = given

    def _let_go(self, partitions: Iterable[TopicPartition]) -> None:
        """Called in the client's own thread too."""
        if self._holder is None:
            super()._let_go(partitions)
            return
        self._resets.clear()  # whoever goes on behind what was settled meets them too
        self._is_ousted |= not self._is_settled()
        epochs = self._epochs_at(self._behind)
        self._epochs |= {p: OffsetAndMetadata(self._behind[p], "", epoch) for p, epoch in epochs.items()}
        self._told |= self._behind
        self._behind, self._given = {}, None


def _all_named(given: Iterable[TopicPartition]) -> frozenset[Partition]:
    return frozenset(map(_named, given))


def _is_same(one: OffsetAndMetadata, other: OffsetAndMetadata | None) -> bool:
    """Whether two places are one, as far as epochs are known."""
    if other is None or one.offset != other.offset:
        return False
    return bool(one.leader_epoch == other.leader_epoch or min(one.leader_epoch, other.leader_epoch) < 0)


def _named(partition: TopicPartition) -> Partition:
    return partition.topic, str(partition.partition)


def committed_of(consumer: Any, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Any]:
    """Offset and note of each partition that has any; the client's public `committed` asks for one at a time."""
    timeout_ms = int(ANSWER_SECONDS * 1000)
    found = consumer._coordinator.fetch_committed_offsets(list(partitions), timeout_ms=timeout_ms)
    if found is None:
        raise TransientError("bus: no broker tells what was committed")
    return {p: told for p, told in found.items() if told.offset >= 0}
