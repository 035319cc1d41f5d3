"""Reading the bus: messages from `kafka://` or from the segments of `file://`, in order within a partition.

A reader gives bytes and positions; it judges nothing. `pipeline.settling` is the only caller of `commit`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from ..errors import ConfigError
from .share import Share


class Message(msgspec.Struct, frozen=True):
    """One message as it was found. On file:// the partition is the node's folder and the offset counts up in it."""

    topic: str
    partition: str
    offset: int
    key: bytes
    headers: Mapping[str, bytes]
    value: bytes
    flaw: str = ""
    """A BatchError reason where the bus itself could not read the message (a broken segment, an oversized value)."""
    place: str = ""
    """Where to look, if elsewhere than at the offset: the segment's path, and what is wrong with it."""

    @property
    def origin(self) -> str:
        """Where to look: the segment's path, or topic/partition/offset. For logs and quarantine."""
        return self.place or f"{self.topic}/{self.partition}/{self.offset}"


Partition = tuple[str, str]
"""Topic and partition, as messages have them."""

Places = dict[str, dict[str, Any]]
"""By topic and partition: the place where reading goes on, in plain values fit for JSON."""


class Reader(Protocol):
    """One consumer of the bus."""

    def start(self, places: Places | None = None) -> None:
        """Connect or open. Where `places` name a partition, reading goes on there whatever the group has committed;
        elsewhere behind what the group has committed. Raises ConfigError for a wrong address or place, TransientError
        where nobody answers yet."""

    def places(self) -> Places:
        """The places behind everything polled so far, of every partition that was ever read here; asks nobody."""

    def poll(self, timeout_s: float) -> list[Message]:
        """New messages, at most a bounded number of bytes at once; empty when none came in time."""

    def mark(self) -> object:
        """A place behind everything polled so far, to be committed later."""

    def commit(self, mark: object = None) -> None:
        """Remember that everything polled so far, or up to the mark, is dealt with: a later reader of the same group
        goes on after it."""

    def caught_up(self) -> bool:
        """Whether all is polled that the bus held when this was asked first since it was so last, or at the last poll:
        what has come since may wait."""

    def lag(self) -> Mapping[str, int]:
        """By topic, how many messages (segments on file://) the bus held behind the last poll, as far as polls told;
        asks nobody, and is empty before the first."""

    def lost(self) -> Mapping[str, int]:
        """By topic, how many messages the bus has given up before they were polled, since this was asked last; places
        are behind them already. Empty where nobody can tell."""

    def quarantine(self, message: Message, reason: str) -> None:
        """Put an unreadable message aside, bounded in size, where a person can look at it."""

    def stop(self) -> None:
        """Close; safe to call twice."""


class Holder(Protocol):
    """Who applies what a member of a group polls."""

    def note(self, partition: Partition, version: int, until: int) -> str:
        """What the next holder of a partition is told, who goes on at `until`, where our snapshot `version` has it."""

    def take_over(self, given: Mapping[Partition, tuple[int, str]], ours: Collection[Partition]) -> None:
        """From now on these partitions are ours, each from an offset on, beside which a note was found; `ours` among
        them are where we left them."""


@runtime_checkable
class GroupReader(Reader, Protocol):
    """A reader to whom partitions may come, and from whom they may go, at any poll."""

    @property
    def is_shared(self) -> bool:
        """Whether they do."""

    @property
    def is_leaving(self) -> bool:
        """Whether partitions go at the next poll, so that what was polled of them has to be settled first."""

    @property
    def held(self) -> frozenset[Partition] | None:
        """What the group has given us last; None before it has. May be asked by any thread."""

    def attend(self, holder: Holder) -> None:
        """Hand partitions over with the holder's notes. `poll` raises OustedError where some went unsettled."""

    def notes(self) -> Mapping[Partition, str]:
        """What was settled last beside the offset of each partition. Needs no `start`; raises TransientError."""

    def recall(self, spans: Mapping[Partition, tuple[int, int]]) -> None:
        """Let `poll` give first what of these spans is beyond the places that `start` was told, whoever has the
        partitions now: we had, and alone know that we counted it."""

    @property
    def is_recalling(self) -> bool:
        """Whether there is more of that."""

    def settle(self, version: int) -> None:
        """Let snapshot `version`, which has everything polled, be what others go on from.

        Raises OustedError where they already go on from an earlier one, TransientError where it is not known yet."""


@runtime_checkable
class ShareReader(Reader, Protocol):
    """A reader of a fixed share, which may be another one than when places were taken."""

    @property
    def gone(self) -> frozenset[Partition]:
        """Partitions that `start` was told a place of which it does not go by: they are in another share now, or others
        have had them since."""


def open_reader(
    url: str,
    group: str | None,
    topics: Sequence[str],
    options: Mapping[str, Any] | None = None,
    share: Share | None = None,
) -> Reader:
    """A reader, not started, for `file://DIR` or `kafka://HOST:PORT[,HOST:PORT]`. Raises ConfigError for others.

    `options` are Kafka's client's (security); `share` fixes which partitions are read, else the group divides them.

    Without a group it reads everything that the bus holds, from the beginning and alone, whenever it is started, and
    has nothing to commit.
    """
    scheme = url.partition("://")[0]
    if scheme == "file":
        from .files import FileReader

        if share is not None and share.of > 1:
            raise ConfigError(f"pipeline.partitions: {share} of a folder; only kafka:// has partitions to share")
        return FileReader(url, group, topics)
    if scheme == "kafka":
        from .kafka import KafkaReader
        from .kafka_group import KafkaMember
        from .kafka_share import KafkaShare

        if group is None:
            return KafkaReader(url, group, topics, options, share)
        return (
            KafkaMember(url, group, topics, options)
            if share is None
            else KafkaShare(url, group, topics, options, share)
        )
    raise ConfigError(f"bus: {url!r} is neither file://DIR nor kafka://HOST:PORT[,HOST:PORT]")
