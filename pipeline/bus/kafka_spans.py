"""Messages between two offsets, read again by whoever had the partition then, beside the group and whoever has it now.

A member whose last snapshot cannot be read reads what that one alone had. The invariant: every message of a span that
the topic still holds is given once.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

from kafka import TopicPartition

from . import Message

log = logging.getLogger(__name__)


class KafkaSpans:
    """Reads `spans`, each from its first offset to before its second, by a consumer of its own, and closes that."""

    def __init__(self, consumer: Any, spans: Mapping[TopicPartition, tuple[int, int]], timeout_ms: int) -> None:
        """Raises the client's errors; the consumer is closed then."""
        self.lost: Counter[str] = Counter()
        """By topic, how many messages of them are gone."""
        self._consumer = consumer
        self._timeout_ms = timeout_ms
        self._left: dict[TopicPartition, int] = {}
        """Up to where, of each that is not read to its end."""
        try:
            self._begin(spans)
        except BaseException:
            self.close()
            raise

    @property
    def is_ended(self) -> bool:
        """Whether all was given."""
        return not self._left

    def poll(self, timeout_s: float) -> list[Message]:
        """The next of them. Raises the client's errors, and then has given none."""
        polled: Mapping[TopicPartition, list[Message]] = self._consumer.poll(timeout_ms=int(timeout_s * 1000))
        given = [
            message
            for partition, messages in polled.items()
            for message in messages
            if message.offset < self._left.get(partition, 0)
        ]
        self._leave_ended()
        return given

    def close(self) -> None:
        """Let the connections go."""
        self._consumer.close(autocommit=False, timeout_ms=self._timeout_ms)

    def _begin(self, spans: Mapping[TopicPartition, tuple[int, int]]) -> None:
        self._consumer.assign(list(spans))
        first = self._consumer.beginning_offsets(list(spans), timeout_ms=self._timeout_ms)
        ends = self._consumer.end_offsets(list(spans), timeout_ms=self._timeout_ms)
        for partition, (since, until) in spans.items():
            at = min(max(since, first[partition]), until)
            self.lost[partition.topic] += at - since
            log.warning("bus: %s/%d is read again from %d to %d", *partition, at, until)
            self._left[partition] = min(until, ends[partition])
            self._consumer.seek(partition, at)
        self._leave_ended()

    def _leave_ended(self) -> None:
        for partition, until in list(self._left.items()):
            at = self._consumer._subscription.assignment[partition].position  # the public way may ask a broker
            if at is not None and at.offset >= until:
                self._consumer.pause(partition)
                del self._left[partition]
