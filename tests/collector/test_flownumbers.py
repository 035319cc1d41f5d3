"""Names of connections."""

from __future__ import annotations

from collector.flownumbers import FlowNumbers


def test_names_go_up_from_the_first_moment() -> None:
    numbers = FlowNumbers()
    assert numbers.take(0, 5).tolist() == []
    assert numbers.take(3, 1000).tolist() == [1000, 1001, 1002]
    assert numbers.take(2, 99).tolist() == [1003, 1004]


def test_a_later_counting_takes_no_name_again() -> None:
    first, second = FlowNumbers(), FlowNumbers()
    assert first.take(1_000_000, 10**18).max() < second.take(1, 10**18 + 1_000_000_000).min()
