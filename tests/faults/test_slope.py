"""A slope and how sure it is, of levels whose slope is known."""

from __future__ import annotations

import numpy as np
import pytest

from tests.faults.slope import LEAST_LEVELS, slope_of

MINUTES = [60.0 * minute for minute in range(30)]
HOURS = np.array(MINUTES) / 3600


def noise(seed: int, deviation: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, deviation, len(MINUTES))


def test_what_grows_evenly_is_told_to_the_digit() -> None:
    slope = slope_of(MINUTES, list(300 + 5 * HOURS))
    assert (slope.an_hour, slope.low, slope.high) == pytest.approx((5, 5, 5))
    assert slope.hours == pytest.approx(29 / 60)


def test_what_is_level_is_flat() -> None:
    slope = slope_of(MINUTES, [300.0] * 30)
    assert (slope.an_hour, slope.low, slope.high) == (0, 0, 0)
    assert slope.is_flat(1, 0)


def test_peaks_do_not_bend_it() -> None:
    levels = 300 + 5 * HOURS
    levels[[3, 17, 28]] += 200
    assert slope_of(MINUTES, list(levels)).an_hour == pytest.approx(5)


@pytest.mark.parametrize("alike", [0.0, 0.6])
def test_the_interval_has_the_slope_nearly_always(alike: float) -> None:
    """Also where levels of neighbouring minutes are much the same, as a process's are."""
    has = 0
    for seed in range(400):
        levels = noise(seed)
        for minute in range(1, len(levels)):
            levels[minute] += alike * levels[minute - 1]
        slope = slope_of(MINUTES, list(300 + 5 * HOURS + levels))
        has += slope.low <= 5 <= slope.high
    assert has >= 0.85 * 400


def test_what_grows_is_not_flat() -> None:
    """Neither where it is certain, nor where half an hour cannot rule it out."""
    grows = slope_of(MINUTES, list(300 + 30 * HOURS + noise(1, 0.3)))
    assert grows.low > 1
    assert not grows.is_flat(1, slack=1_000)
    unknown = slope_of(MINUTES, list(300 + noise(2, 30)))
    assert unknown.low < 1
    assert not unknown.is_flat(1, slack=8)
    assert slope_of(MINUTES, list(300 + noise(3))).is_flat(1, slack=8)


def test_few_levels_say_nothing() -> None:
    with pytest.raises(ValueError, match="say nothing"):
        slope_of(MINUTES[: LEAST_LEVELS - 1], [1.0] * (LEAST_LEVELS - 1))
