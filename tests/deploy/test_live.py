"""When the demo draws its dashboards."""

from __future__ import annotations

from deploy.demo.live import last_busy


def test_dashboards_are_drawn_before_the_traffic_grows_thin() -> None:
    """What comes last is who waits for an answer that never comes: a map of it would be empty, and all of it failed."""
    rates = [0.0, 20.0, 30.0, 4.0, 40.0, 25.0, 20.0, 6.0, 3.0, 0.0, 0.0]
    assert last_busy([(float(at), rate) for at, rate in enumerate(rates)], 99.0) == 6.0


def test_a_demo_of_which_prometheus_tells_nothing_is_drawn_as_it_ended() -> None:
    assert last_busy([], 99.0) == 99.0
    assert last_busy([(1.0, 0.0), (2.0, 0.0)], 99.0) == 99.0
