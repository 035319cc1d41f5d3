"""The bus in a cluster: Kafka topics, read as a consumer group over partitions keyed by node.

Offsets are committed when the engine says so and never by themselves. Fetches are bounded; the most that a broker can
make this process hold is one response of MAX_RESPONSE_BYTES, so a topic that allows larger messages cannot be read.
Messages compressed by Kafka are not inflated but flawed (`kafka_records`): set `compression.type=uncompressed` on the
topics, and the broker inflates what producers compress, within its own limit on a message.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.structs import MemberState

from collector.schema import MAX_MESSAGE_BYTES

from ..errors import ConfigError, PermanentError, TransientError
from . import Message, Places
from .kafka_joining import join_patiently
from .kafka_places import epochs_at, number_of, places_of, positions_at, told_by
from .kafka_quarantine import KafkaQuarantine
from .kafka_reasons import Reasons
from .kafka_receiving import receive_large_pieces
from .kafka_records import read_messages
from .kafka_resets import tell_resets
from .servers import servers_of
from .share import Share

log = logging.getLogger(__name__)

FETCH_BYTES: Final = 5 * 1024 * 1024
"""Some 150,000 flows: about what goes through the stages at once. Answers of 16 MiB cost as much a flow, and at the
peak of catching up 80 MB more, for the client holds the next one, and what that is taken from, beside it."""
PARTITION_FETCH_BYTES: Final = 2 * MAX_MESSAGE_BYTES
POLL_MESSAGES: Final = 2_000
"""How many a poll brings at most: enough that what a step costs is shared by many."""
FETCH_LEAST_BYTES: Final = 1024 * 1024
FETCH_WAIT_MS: Final = 200
"""A broker answers when it has so many bytes, or after so long. An answer with the first message that comes would have
every step of the engine bring one or two, and a step costs much the same whether it brings one or a hundred. Without a
group (the cluster's state, whoever watches) there are few messages, and somebody waits for each."""
MAX_RESPONSE_BYTES: Final = 64 * 1024 * 1024
CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 10.0
RECONNECT_MS: Final = 2_000
"""The longest wait of the client before it dials a broker again."""
SESSION_SECONDS: Final = 9.0
"""A member of a group that is not heard of for so long is given up, and its partitions go to others."""
SHARE_SECONDS: Final = 30.0
"""New partitions of a fixed share are found this late at most."""

# what no waiting mends; rights and passwords can be mended while we run
_REFUSED: Final = (
    kafka_errors.InvalidTopicError,
    kafka_errors.InvalidGroupIdError,
    kafka_errors.UnsupportedVersionError,
)


class KafkaReader:
    """One member of a consumer group, or a reader of everything where there is none."""

    _note = ""
    """What stands beside each offset that a mark has committed."""

    def __init__(
        self,
        url: str,
        group: str | None,
        topics: Sequence[str],
        options: Mapping[str, Any] | None = None,
        share: Share | None = None,
    ) -> None:
        self._servers = servers_of(url)
        self._options = {"reconnect_backoff_max_ms": RECONNECT_MS, **(options or {})}
        if group == "":
            raise ConfigError("group: a name is wanted")
        self._group = group
        self._topics = list(topics)
        self._share = share
        self._shared_at = -SHARE_SECONDS
        self._consumer: Any = None
        self._behind: dict[TopicPartition, int] = {}
        """The offset behind the last message polled, of each partition that had one."""
        self._told: dict[TopicPartition, int] = {}
        """Where reading goes on by what `start` was told, of each partition that was not given to us yet."""
        self._epochs: dict[TopicPartition, OffsetAndMetadata] = {}
        """These places again, with the leader's epoch of each of which it was told."""
        self._known: dict[str, int] = {}
        """The numbers of the topics that these offsets are of."""
        self._ends: dict[TopicPartition, int] = {}
        """Where our partitions ended when somebody asked whether we have all; empty since we had."""
        self._resets: deque[tuple[TopicPartition, int, int]] = deque()
        """Where the bus did not hold what was to be read next any more, and where reading goes on."""
        self._lost = Counter(dict.fromkeys(self._topics, 0))
        self._aside = KafkaQuarantine(self._servers, self._options)

    def start(self, places: Places | None = None) -> None:
        """Connect; `poll` joins the group. Raises TransientError where none answers, ConfigError where one refuses."""
        offsets, topics, epochs = told_by(places or {})
        self._told = {p: at for p, at in offsets.items() if not self._share or self._share.takes(p[1])}
        self._behind, self._known = dict(self._told), topics
        self._epochs = {p: OffsetAndMetadata(self._told[p], "", epochs[p]) for p in epochs.keys() & self._told.keys()}
        reasons = Reasons(self._options)
        try:
            with reasons:
                self._consumer = self._connected()
            if self._share is None:
                if self._group is not None:
                    join_patiently(self._consumer, SESSION_SECONDS)
                listener = _GivenPartitions(self._go_on, self._let_go, self._lose)
                self._consumer.subscribe(self._topics, listener=listener)
        except (*_REFUSED, kafka_errors.KafkaConfigurationError) as error:
            raise ConfigError(f"bus: {','.join(self._servers)}: {error}") from error
        except (kafka_errors.KafkaError, OSError) as error:
            raise TransientError(f"bus: not connected to {','.join(self._servers)}: {reasons.why(error)}") from error

    def _connected(self) -> Any:
        consumer = KafkaConsumer(
            bootstrap_servers=self._servers,
            group_id=self._group,
            client_id="flowatlas-pipeline",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
            fetch_min_bytes=1 if self._group is None else FETCH_LEAST_BYTES,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_poll_records=POLL_MESSAGES,
            receive_message_max_bytes=MAX_RESPONSE_BYTES,
            metadata_max_age_ms=30_000,
            partition_assignment_strategy=(RangePartitionAssignor,),
            session_timeout_ms=int(SESSION_SECONDS * 1000),
            heartbeat_interval_ms=int(SESSION_SECONDS * 1000 / 6),
            bootstrap_timeout_ms=int(CONNECT_SECONDS * 1000),
            metrics_enabled=False,
            **self._options,
        )
        receive_large_pieces(consumer)
        read_messages(consumer)
        tell_resets(consumer, self._resets.append)
        return consumer

    def poll(self, timeout_s: float) -> list[Message]:
        """New messages of the partitions that the group gave us, about FETCH_BYTES at most."""
        with sorted_errors():
            self._take_share()
            known = dict(self._known)
            polled = self._polled(timeout_s)
            self._see_topics()
        # what was polled of a topic before it was seen to be another one comes again, in its order
        anew = {topic for topic, number in known.items() if self._known[topic] != number}
        polled = {partition: messages for partition, messages in polled.items() if partition.topic not in anew}
        self._see_cuts({partition: messages[0].offset for partition, messages in polled.items()})
        self._behind |= {partition: messages[-1].offset + 1 for partition, messages in polled.items()}
        self._see_resets()
        positions = positions_at(self._consumer._subscription, self._behind)
        self._see_cuts({partition: at.offset for partition, at in positions.items()})
        return [message for messages in polled.values() for message in messages]

    def _polled(self, timeout_s: float) -> Mapping[TopicPartition, list[Message]]:
        polled: Mapping[TopicPartition, list[Message]] = self._consumer.poll(timeout_ms=int(timeout_s * 1000))
        return polled

    def _take_share(self) -> None:
        """Find the partitions of our share, those that have come since among them."""
        now = time.monotonic()
        if self._share is None or now - self._shared_at < (SHARE_SECONDS if self._consumer.assignment() else 0.5):
            return
        found = {topic: self._consumer.partitions_for_topic(topic) or () for topic in self._topics}
        counts = {topic: len(partitions) for topic, partitions in found.items() if partitions}
        if len(set(counts.values())) > 1:
            raise PermanentError(
                f"bus: topics have different numbers of partitions, so a node's rows would part: {counts}"
            )
        self._consumer.assign(
            [
                TopicPartition(topic, p)
                for topic, partitions in found.items()
                for p in partitions
                if self._share.takes(p)
            ]
        )
        self._go_on(self._consumer.assignment())
        self._shared_at = now

    def places(self) -> Places:
        """The offsets behind everything polled, by topic and partition."""
        return places_of(self._behind, self._known, self._epochs_at(self._behind))

    def _epochs_at(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """The leader's epoch of each offset of which it is known."""
        told = {p: at.leader_epoch for p, at in self._epochs.items() if offsets.get(p) == at.offset}
        return told | (epochs_at(self._consumer._subscription, offsets) if self._consumer is not None else {})

    def _see_topics(self) -> None:
        """Begin anew with topics that are others than those that our offsets are of. What came before and comes again
        is passed over by who knows batches by name."""
        for topic in self._topics:
            number = number_of(self._consumer._cluster, topic)  # public as `cluster` on admin clients alone
            if number is None:
                continue
            if self._known.setdefault(topic, number) != number:
                log.warning("bus: %s is another topic than the one that was read: it is read from the beginning", topic)
                self._rewind(topic)
                self._known[topic] = number

    def _rewind(self, topic: str) -> None:
        """Go back to the beginning of all partitions of a topic."""
        self._ends = {}
        for offsets in (self._told, self._behind):
            offsets |= {partition: 0 for partition in offsets if partition.topic == topic}
        for partition in self._consumer.assignment():
            if partition.topic == topic:
                self._behind[partition] = 0
                self._consumer.seek(partition, 0)

    def _see_resets(self) -> None:
        """Stand where reading goes on of partitions of which the bus did not hold what came next, and count that. What
        was polled since has moved us on already."""
        mine = self._consumer.assignment()
        while self._resets:
            partition, left, at = self._resets.popleft()
            if partition not in mine or at == left:
                continue
            if self._behind.get(partition, left) == left:
                self._behind[partition] = at
            gone = max(0, at - left)
            self._lost[partition.topic] += gone
            where = f"{partition.topic}/{partition.partition}"
            log.warning("bus: %s has nothing at %d: read on at %d, %d messages are gone", where, left, at, gone)

    def _see_cuts(self, at: Mapping[TopicPartition, int]) -> None:
        """Stand where a log was cut of which we had read more, as the client does that stands `at` these offsets now.
        What we had counts, and its numbers are given to others."""
        for partition, offset in at.items():
            if offset < (left := self._behind.get(partition, offset)):
                where = f"{partition.topic}/{partition.partition}"
                log.warning("bus: %s was read up to %d, and was cut since: read on at %d", where, left, offset)
                self._go_back(partition, offset)

    def _go_back(self, partition: TopicPartition, offset: int) -> None:
        """Stand at an offset, though more was read of what was there before."""
        self._behind[partition] = offset

    def _told_of(self, partition: TopicPartition) -> OffsetAndMetadata | None:
        """Where reading goes on by what `start` was told or, of what was let go, where we have left it."""
        if (offset := self._told.get(partition)) is None:
            return None
        known = self._epochs.get(partition)
        return known if known is not None and known.offset == offset else OffsetAndMetadata(offset, "", -1)

    def _go_on(self, partitions: Iterable[TopicPartition]) -> None:
        """Read on where `start` was told to; only once, for another reader may deal with a partition between."""
        self._see_topics()
        for partition in partitions:
            offset = self._told.pop(partition, None)
            if offset is not None:
                self._seek(partition, offset)

    def _seek(self, partition: TopicPartition, offset: int) -> None:
        """Read on at an offset or, where the log is another one than the one it was counted in, where they part."""
        told = self._epochs.get(partition)
        if told is not None and told.offset == offset:
            self._consumer._subscription.seek(partition, told)  # the client's public way takes no epoch
        else:
            self._consumer.seek(partition, offset)

    def _let_go(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget the places of what is another reader's from now on. If it comes back we go on behind the commit, and
        who knows batches by name passes over those that it had."""
        for partition in partitions:
            self._behind.pop(partition, None)

    def _lose(self, partitions: Iterable[TopicPartition]) -> None:
        """The group has given these to others already."""
        self._let_go(partitions)

    def mark(self) -> object:
        """The offsets behind everything polled."""
        with sorted_errors():
            mine = self._consumer.assignment()
            return {p: self._consumer.position(p, timeout_ms=int(ANSWER_SECONDS * 1000)) for p in mine}

    def commit(self, mark: object = None) -> None:
        """Commit the offsets behind everything polled, or the mark, after what was put aside has arrived.

        Raises TransientError where the group moved on without us: what we polled will be delivered again.
        """
        self._aside.flush()
        if self._group is None:
            return
        with sorted_errors():
            offsets = None
            if mark is not None:
                told = cast("dict[TopicPartition, int | None]", mark)
                mine = self._consumer.assignment()  # others are another reader's by now
                behind = {p: at for p, at in told.items() if p in mine and at is not None}
                epochs = self._epochs_at(behind)
                offsets = {p: OffsetAndMetadata(at, self._note, epochs.get(p, -1)) for p, at in behind.items()}
            if offsets is None or offsets:
                self._consumer.commit(offsets, timeout_ms=int(ANSWER_SECONDS * 1000))

    def caught_up(self) -> bool:
        """Whether all is polled that our partitions held when this was asked first, since it was so last: who waits for
        more than that has to meet a moment in which nothing comes. False until the group has given us any or none."""
        with sorted_errors():
            mine: set[TopicPartition] = self._consumer.assignment()
            if not mine:
                if self._share is not None:
                    return self._shared_at > 0  # more shares than partitions: none is ours
                if self._group is None:
                    return False  # the topic is not there, or not known yet
                return bool(self._consumer.group_metadata().state == MemberState.STABLE)
            timeout_ms = int(ANSWER_SECONDS * 1000)
            try:
                positions = {p: self._consumer.position(p, timeout_ms=timeout_ms) for p in mine}
                if self._ends.keys() != mine:
                    self._ends = self._consumer.end_offsets(list(mine), timeout_ms=timeout_ms)
            except kafka_errors.RetriableError:
                return False
        is_so = all(positions[p] is not None and positions[p] >= end for p, end in self._ends.items())
        if is_so:
            self._ends = {}
        return is_so

    def lag(self) -> Mapping[str, int]:
        """Messages by topic that the last answers of brokers told of and that were not polled yet."""
        if self._consumer is None:
            return {}
        lag: Counter[str] = Counter()
        for partition in self._consumer.assignment():
            end = self._consumer.highwater(partition)
            if end is not None:
                lag[partition.topic] += max(0, end - self._behind.get(partition, end))
        return lag

    def lost(self) -> Mapping[str, int]:
        """By topic, how many messages were gone before they were polled, since this was asked last."""
        lost, self._lost = self._lost, Counter(dict.fromkeys(self._topics, 0))
        return lost

    def quarantine(self, message: Message, reason: str) -> None:
        """Send a message to QUARANTINE_TOPIC. An outage costs the message alone."""
        self._aside.put(message, reason)

    def stop(self) -> None:
        """Leave the group and close; safe to call twice."""
        self._aside.close()
        if self._consumer is not None:
            self._consumer.close(autocommit=False, timeout_ms=int(ANSWER_SECONDS * 1000))
            self._consumer = None


class _GivenPartitions(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """Tells of the partitions that the group gives us and takes from us."""

    def __init__(
        self,
        given: Callable[[Iterable[TopicPartition]], None],
        taken: Callable[[Iterable[TopicPartition]], None],
        lost: Callable[[Iterable[TopicPartition]], None],
    ) -> None:
        self._given = given
        self._taken = taken
        self._lost = lost

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """What was polled is ours to apply; where to go on is not."""
        self._taken(revoked)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Read them from the right place on."""
        self._given(assigned)

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        """They were taken while we were not heard of."""
        self._lost(lost)


@contextmanager
def sorted_errors() -> Iterator[None]:
    """The client's errors by what the caller can do about them."""
    try:
        yield
    except _REFUSED as error:
        raise PermanentError(f"bus: {error}") from error
    except (kafka_errors.KafkaError, OSError) as error:
        raise TransientError(f"bus: {error}") from error
