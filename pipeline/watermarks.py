"""Event time by partition: how far it has come, which rows are late, and whose clock is ahead.

Counters are cumulative, so nothing waits for a watermark: it only tells late rows from others. The clock is a
parameter. The invariant: a partition's event time never goes back and never goes beyond the clock, so that a node that
is ahead of time makes no other node's rows late.

A poll brings many batches with few rows each, so they are looked at together, one behind the other.
"""

from __future__ import annotations

from collections.abc import Sequence
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


Times = npt.NDArray[np.int64]
"""In ns since 1970."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What is to say of batches, one by one."""

    late_rows: Sequence[int]
    is_ahead: Sequence[bool]
    """Whether it has observations of a time that has not come yet."""


def bounds(times: Times, sizes: Sequence[int]) -> tuple[list[int], list[int]]:
    """The oldest and the newest time of each of some batches of so many rows; 0 and 0 of a batch without rows."""
    rows = np.array(sizes, np.int64)
    has_rows = rows > 0
    starts = (np.cumsum(rows) - rows)[has_rows]
    found = np.zeros((2, len(rows)), np.int64)
    if len(starts):
        found[0, has_rows] = np.minimum.reduceat(times, starts)
        found[1, has_rows] = np.maximum.reduceat(times, starts)
    oldest, newest = found.tolist()
    return oldest, newest


class Watermarks:
    """The event time that each partition has come to."""

    def __init__(self, lateness_s: float) -> None:
        self._lateness_ns = int(lateness_s * _SECOND_NS)
        self._reached: dict[Partition, int] = {}
        self._seen_ns: dict[Partition, int] = {}
        """When each partition brought something last, by the clock."""

    def see(self, partitions: Sequence[Partition], times: Times, sizes: Sequence[int], now_ns: int) -> Arrivals:
        """Take in batches' observations that came at `now_ns`: of each its partition and how many of `times` it has."""
        self._seen_ns.update(dict.fromkeys(partitions, now_ns))
        ahead_ns = int(now_ns + SKEW_SECONDS * _SECOND_NS)
        late_rows = [0] * len(sizes)
        reached = self._reached
        batches = zip(partitions, sizes, *bounds(times, sizes), strict=True)
        start = 0
        are_ahead = []
        for place, (partition, size, oldest, newest) in enumerate(batches):
            are_ahead.append(newest > ahead_ns)
            if not size:
                continue
            before = reached.get(partition)
            if before is not None and oldest < before - self._lateness_ns:
                late = times[start : start + size] < before - self._lateness_ns
                late_rows[place] = int(late.sum())
            reached[partition] = max(before or 0, min(newest, now_ns))
            start += size
        return Arrivals(late_rows, are_ahead)

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
