"""Publishing comes each window, and far behind the bus takes a share of the time with the pages that are made of it."""

from __future__ import annotations

import pytest

from pipeline.pacing import FAR_BEHIND, MOST_BETWEEN, SHARE, Pace


@pytest.mark.parametrize(
    ("waiting", "took_s", "pages_s", "expected"),
    [
        (0, 0.3, 0.0, 11.0),  # a window after it began
        (0, 0.8, 0.0, 11.3),  # counting gets half a window
        (FAR_BEHIND - 1, 0.3, 3.0, 11.0),
        (FAR_BEHIND, 0.02, 0.0, 11.0),
        (FAR_BEHIND, 0.1, 0.0, 14.0),  # a fortieth of the time is what it takes
        (FAR_BEHIND, 0.1, 0.1, 17.9),  # and of the pages that were made since the one before
        (FAR_BEHIND, 3.0, 0.0, 23.0),  # but ten windows are the most
        (FAR_BEHIND, 0.1, 3.0, 20.1),
    ],
)
def test_publishing_is_due_each_window_and_less_often_while_the_bus_is_far_ahead(
    waiting: int, took_s: float, pages_s: float, expected: float
) -> None:
    pace = Pace(window_s=1.0, now_s=0.0)
    pace.published(5.0, 5.0, 40.0)  # what pages took before that counts no more
    pace.published(10.0, 10.0 + took_s, 40.0 + pages_s)
    assert pace.due_at(waiting) == pytest.approx(expected)


def test_what_is_counted_is_shown_as_usual_as_soon_as_the_bus_is_not_far_ahead_any_more() -> None:
    pace = Pace(window_s=2.0, now_s=100.0)
    assert pace.due_at(FAR_BEHIND) == 102.0
    pace.published(102.0, 104.5, 0.0)
    assert (pace.due_at(FAR_BEHIND), pace.due_at(0)) == (124.5, 105.5)


def test_publishing_far_behind_takes_its_share_of_the_time() -> None:
    pace, now_s, pages_s = Pace(window_s=1.0, now_s=0.0), 0.0, 0.0
    for _ in range(50):
        now_s = max(now_s, pace.due_at(FAR_BEHIND)) + 0.07
        pace.published(now_s - 0.07, now_s, pages_s)
        pages_s += 0.1
    assert (50 * 0.07 + pages_s) / now_s == pytest.approx(SHARE, rel=0.1)
    assert now_s / 50 < MOST_BETWEEN
