"""Event time by partition: what is late, who is ahead, and what an idle partition holds back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.watermarks import IDLE_SECONDS, Watermarks

SECOND = 10**9
NOW = 1_800_000_000 * SECOND
ONE, OTHER = ("flows", "0"), ("flows", "1")


def at(*seconds: float) -> npt.NDArray[np.int64]:
    return np.array([NOW + int(second * SECOND) for second in seconds], np.int64)


def test_rows_behind_the_watermark_of_their_partition_are_late() -> None:
    marks = Watermarks(lateness_s=10)
    assert marks.see(ONE, at(-3600), NOW).late_rows == 0
    assert marks.see(ONE, at(0), NOW).late_rows == 0
    assert marks.see(ONE, at(-10.001, -10, -60, 0), NOW).late_rows == 2
    assert marks.see(OTHER, at(-60), NOW).late_rows == 0


def test_a_node_that_is_ahead_makes_no_other_late() -> None:
    marks = Watermarks(lateness_s=10)
    arrival = marks.see(ONE, at(7200), NOW)
    assert arrival.is_ahead
    again = marks.see(ONE, at(-5), NOW)
    assert (again.late_rows, again.is_ahead) == (0, False)


def test_a_step_back_of_a_clock_takes_nothing_back() -> None:
    marks = Watermarks(lateness_s=0)
    marks.see(ONE, at(0), NOW)
    marks.see(ONE, at(-7200), NOW)
    assert marks.watermark(NOW) == NOW


def test_the_slowest_partition_holds_the_watermark_until_it_is_idle() -> None:
    marks = Watermarks(lateness_s=1)
    marks.see(ONE, at(-100), NOW)
    later = NOW + int((IDLE_SECONDS + 1) * SECOND)
    marks.see(OTHER, at(0), NOW)
    assert marks.watermark(NOW) == NOW - 101 * SECOND
    marks.see(OTHER, at(IDLE_SECONDS), later)
    assert marks.watermark(later) == NOW + int((IDLE_SECONDS - 1) * SECOND)
    assert marks.watermark(later + later) is None


def test_a_batch_without_a_row_keeps_its_partition_alive_and_says_nothing() -> None:
    marks = Watermarks(lateness_s=0)
    assert marks.see(ONE, at(), NOW).late_rows == 0
    assert marks.watermark(NOW) is None
    marks.see(ONE, at(-5), NOW)
    later = NOW + int(IDLE_SECONDS * SECOND)
    marks.see(ONE, at(), later)
    assert marks.watermark(later + SECOND) == NOW - 5 * SECOND


def test_event_times_go_on_in_the_next_process() -> None:
    before, after = Watermarks(lateness_s=10), Watermarks(lateness_s=10)
    before.see(ONE, at(0), NOW)
    after.restore(before.state())
    assert after.watermark(NOW) is None
    assert after.see(ONE, at(-11), NOW).late_rows == 1
    assert after.watermark(NOW) == NOW - 10 * SECOND
