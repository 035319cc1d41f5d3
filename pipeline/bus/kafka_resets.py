"""Where the bus holds nothing any more of what is to be read next: kept too short, deleted, or its log was cut.

kafka-python goes on at the earliest message then, which is right, and says so to nobody. The client has no public way
to be asked. The invariant: each place that was left for another is told once, with where reading goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kafka import TopicPartition


def tell_resets(consumer: Any, told: Callable[[tuple[TopicPartition, int, int]], None]) -> None:
    """Tell, from the client's own thread, of which partition what offset was left, and where reading goes on."""
    subscription, fetcher = consumer._subscription, consumer._fetcher
    request, reset = subscription.request_offset_reset, fetcher._reset_offset_if_needed
    left: dict[TopicPartition, int] = {}

    def leave(partition: TopicPartition, *strategy: Any) -> None:
        position = subscription.assignment[partition].position
        left.pop(partition, None)
        if position is not None:
            left[partition] = position.offset
        request(partition, *strategy)

    def go_on(partition: TopicPartition, timestamp: int, offset: int) -> None:
        is_needed = subscription.is_assigned(partition) and subscription.is_offset_reset_needed(partition)
        reset(partition, timestamp, offset)
        before = left.pop(partition, None)
        if is_needed and before is not None:
            told((partition, before, offset))

    subscription.request_offset_reset, fetcher._reset_offset_if_needed = leave, go_on
