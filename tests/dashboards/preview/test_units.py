"""How values and times read on the page."""

from __future__ import annotations

import math

import pytest

from dashboards.preview import units


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0, "Bps", "0 B/s"),
        (428_123, "Bps", "428 kB/s"),
        (1_620_000, "bytes", "1.62 MB"),
        (31.4, "cps", "31.4 /s"),
        (0.226, "percentunit", "22.6 %"),
        (0.00015, "s", "150 µs"),
        (0.5, "s", "500 ms"),
        (7200, "s", "2 h"),
        (1234, "short", "1.23 k"),
        (0.02, "cps", "0.02 /s"),
        (-1500, "short", "-1.5 k"),
        (0.00009, "short", "0.00009"),
        (0.0000003, "short", "0.0000003"),
        (53930.4, "locale", "53,930"),
        (1_700_000_000_000, "dateTimeAsIso", "2023-11-14 22:13:20"),
        (math.nan, "s", units.NOTHING),
        (math.inf, "s", "∞"),
    ],
)
def test_a_value_reads_as_a_person_writes_it(value: float, unit: str, shown: str) -> None:
    assert units.text(value, unit) == shown


@pytest.mark.parametrize("high", [0.00031, 0.9, 1.0, 7.3, 1_234_567.0])
def test_ticks_are_round_begin_at_0_and_reach_the_largest_value(high: float) -> None:
    ticks = units.ticks(high, 4)
    assert ticks[0] == 0
    assert ticks[-2] < high <= ticks[-1] * (1 + 1e-9)
    assert 2 <= len(ticks) <= 6


@pytest.mark.parametrize(
    ("high", "ticks"),
    [(400.0, [0, 120, 240, 360, 480]), (0.4, [0, 0.1, 0.2, 0.3, 0.4]), (8e6, [0, 2e6, 4e6, 6e6, 8e6])],
)
def test_times_have_ticks_that_clocks_have(high: float, ticks: list[float]) -> None:
    """Up to days of seconds: 2 min, not 1.67."""
    assert units.ticks(high, 4, "s") == pytest.approx(ticks)


@pytest.mark.parametrize("high", [0.0, -1.0, math.nan, math.inf])
def test_an_axis_without_values_is_from_0_to_1(high: float) -> None:
    assert units.ticks(high, 4) == [0.0, 1.0]


def test_times_are_round_and_within_the_span() -> None:
    assert units.times(1_700_000_001, 1_700_000_301, 5) == [
        (1_700_000_040.0, "22:14"),
        (1_700_000_100.0, "22:15"),
        (1_700_000_160.0, "22:16"),
        (1_700_000_220.0, "22:17"),
        (1_700_000_280.0, "22:18"),
    ]
