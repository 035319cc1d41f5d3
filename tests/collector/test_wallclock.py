"""How far the wall clock was ahead, when."""

from __future__ import annotations

import numpy as np
import pytest

from collector import wallclock
from collector.wallclock import WallClock


def ahead(clock: WallClock, *instants: int) -> list[int]:
    found: list[int] = clock.ahead(np.array(instants, np.uint64)).tolist()
    return found


def test_what_began_since_the_look_before_is_told_by_the_clock_of_this_one() -> None:
    clock = WallClock(5)
    for now, by in ((100, 1000), (200, 1003), (300, 5000), (400, 5000), (500, 20)):
        clock.look(now, by)
    assert ahead(clock, 0, 50, 200, 201, 400, 401, 999) == [1000, 1000, 1000, 5000, 5000, 20, 20]


def test_steps_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wallclock, "MOST_STEPS", 2)
    clock = WallClock(5)
    for now, by in ((100, 1000), (200, 2000), (300, 3000)):
        clock.look(now, by)
    assert ahead(clock, 1, 150, 250) == [2000, 2000, 3000]
