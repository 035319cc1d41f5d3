"""Event time by partition: what is late, who is ahead, and what an idle partition holds back."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.watermarks import IDLE_SECONDS, Partition, Times, Watermarks, bounds

SECOND = 10**9
NOW = 1_800_000_000 * SECOND
ONE, OTHER = ("flows", "0"), ("flows", "1")


def at(*seconds: float) -> Times:
    return np.array([NOW + int(second * SECOND) for second in seconds], np.int64)


def see(marks: Watermarks, partition: Partition, times: Times, now_ns: int = NOW) -> tuple[int, bool]:
    """How many rows of one batch are late, and whether it is ahead."""
    arrivals = marks.see([partition], times, [len(times)], now_ns)
    (late_rows,), (is_ahead,) = arrivals.late_rows, arrivals.is_ahead
    return late_rows, is_ahead


def test_rows_behind_the_watermark_of_their_partition_are_late() -> None:
    marks = Watermarks(lateness_s=10)
    assert see(marks, ONE, at(-3600))[0] == 0
    assert see(marks, ONE, at(0))[0] == 0
    assert see(marks, ONE, at(-10.001, -10, -60, 0))[0] == 2
    assert see(marks, OTHER, at(-60))[0] == 0


def test_a_node_that_is_ahead_makes_no_other_late() -> None:
    marks = Watermarks(lateness_s=10)
    assert see(marks, ONE, at(7200))[1]
    assert see(marks, ONE, at(-5)) == (0, False)


def test_a_step_back_of_a_clock_takes_nothing_back() -> None:
    marks = Watermarks(lateness_s=0)
    see(marks, ONE, at(0))
    see(marks, ONE, at(-7200))
    assert marks.watermark(NOW) == NOW


def test_the_slowest_partition_holds_the_watermark_until_it_is_idle() -> None:
    marks = Watermarks(lateness_s=1)
    see(marks, ONE, at(-100))
    later = NOW + int((IDLE_SECONDS + 1) * SECOND)
    see(marks, OTHER, at(0))
    assert marks.watermark(NOW) == NOW - 101 * SECOND
    see(marks, OTHER, at(IDLE_SECONDS), later)
    assert marks.watermark(later) == NOW + int((IDLE_SECONDS - 1) * SECOND)
    assert marks.watermark(later + later) is None


def test_a_batch_without_a_row_keeps_its_partition_alive_and_says_nothing() -> None:
    marks = Watermarks(lateness_s=0)
    assert see(marks, ONE, at()) == (0, False)
    assert marks.watermark(NOW) is None
    see(marks, ONE, at(-5))
    later = NOW + int(IDLE_SECONDS * SECOND)
    see(marks, ONE, at(), later)
    assert marks.watermark(later + SECOND) == NOW - 5 * SECOND


def test_event_times_go_on_in_the_next_process() -> None:
    before, after = Watermarks(lateness_s=10), Watermarks(lateness_s=10)
    see(before, ONE, at(0))
    after.restore(before.state())
    assert after.watermark(NOW) is None
    assert see(after, ONE, at(-11))[0] == 1
    assert after.watermark(NOW) == NOW - 10 * SECOND


@pytest.mark.parametrize("seed", range(20))
def test_batches_seen_together_are_judged_as_they_are_one_behind_the_other(seed: int) -> None:
    chance = np.random.default_rng(seed)
    together, alone = Watermarks(lateness_s=10), Watermarks(lateness_s=10)
    late = 0
    for poll in range(5):
        sizes = [int(size) for size in chance.choice([0, 0, 1, 2, 7], chance.integers(1, 12))]
        partitions = [("flows", str(number)) for number in chance.integers(0, 3, len(sizes))]
        times = at(*chance.uniform(-60, 20, sum(sizes)))
        now_ns = NOW + poll * SECOND
        arrivals = together.see(partitions, times, sizes, now_ns)
        ends = np.cumsum(sizes)
        parts = [times[end - size : end] for end, size in zip(ends, sizes, strict=True)]
        expected = [see(alone, partition, part, now_ns) for partition, part in zip(partitions, parts, strict=True)]
        assert list(zip(arrivals.late_rows, arrivals.is_ahead, strict=True)) == expected
        assert together.state() == alone.state()
        assert together.watermark(now_ns) == alone.watermark(now_ns)
        late += sum(arrivals.late_rows)
    assert late > 0


def test_bounds_are_of_each_batch_and_zero_where_it_has_no_row() -> None:
    times = np.array([5, 3, 9, 7, 7, 1], np.int64)
    assert bounds(times, [0, 3, 0, 2, 1, 0]) == ([0, 3, 0, 7, 1, 0], [0, 9, 0, 7, 1, 0])
    assert bounds(times[:0], [0, 0]) == ([0, 0], [0, 0])
    assert bounds(times[:0], []) == ([], [])
