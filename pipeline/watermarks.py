"""Event time by partition: how far it has come, which rows are late, and whose clock is ahead.

Counters are cumulative, so nothing waits for a watermark: it only tells late rows from others. The clock is a
parameter. The invariant: a partition's event time never goes back and never goes beyond the clock, so that a node that
is ahead of time makes no other node's rows late.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

IDLE_SECONDS: Final = 30.0
"""A partition that has brought nothing for so long does not hold the watermark back."""
SKEW_SECONDS: Final = 5.0
"""By so much may a node's clock be ahead before it is told."""
_SECOND_NS: Final = 1_000_000_000

Partition = tuple[str, str]
"""Topic and partition."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is to say of one batch."""

    late_rows: int
    is_ahead: bool
    """Whether it has observations of a time that has not come yet."""


class Watermarks:
    """The event time that each partition has come to."""

    def __init__(self, lateness_s: float) -> None:
        self._lateness_ns = int(lateness_s * _SECOND_NS)
        self._reached: dict[Partition, int] = {}
        self._seen_ns: dict[Partition, int] = {}
        """When each partition brought something last, by the clock."""

    def see(self, partition: Partition, times: npt.NDArray[np.int64], now_ns: int) -> Arrival:
        """Take in a batch's observations (in ns) that came at `now_ns`."""
        self._seen_ns[partition] = now_ns
        if not len(times):
            return Arrival(0, is_ahead=False)
        newest, oldest = int(times.max()), int(times.min())
        reached = self._reached.get(partition)
        watermark = None if reached is None else reached - self._lateness_ns
        late = 0 if watermark is None or oldest >= watermark else int((times < watermark).sum())
        self._reached[partition] = max(reached or 0, min(newest, now_ns))
        return Arrival(late, is_ahead=newest > now_ns + SKEW_SECONDS * _SECOND_NS)

    def watermark(self, now_ns: int) -> int | None:
        """The watermark of all partitions that are not idle, in ns; None where there is none such."""
        live = [
            reached
            for partition, reached in self._reached.items()
            if now_ns - self._seen_ns.get(partition, 0) <= IDLE_SECONDS * _SECOND_NS
        ]
        return min(live) - self._lateness_ns if live else None

    def state(self) -> list[list[Any]]:
        """Topic, partition and event time of each, as plain values."""
        return [[*partition, reached] for partition, reached in self._reached.items()]

    def restore(self, values: list[list[Any]]) -> None:
        """Take up event times; every partition is idle until it brings something."""
        self._reached = {(topic, partition): reached for topic, partition, reached in values}
