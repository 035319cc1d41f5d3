"""Who asks at intervals is expected, and who has stopped is not."""

from __future__ import annotations

from pipeline.outputs.foresight import Foresight


def test_who_asked_once_is_expected_soon_and_then_not_before_the_second_question() -> None:
    foresight = Foresight()
    assert not foresight.expects(0.0, 100.0)
    foresight.asked("a", 0.0)
    assert foresight.expects(1.0, 2.0)
    assert not foresight.expects(11.0, 1e9)
    foresight.asked("a", 15.0)
    assert not foresight.expects(16.0, 17.0), "its interval is known"


def test_who_asked_twice_is_expected_at_the_same_interval() -> None:
    foresight = Foresight()
    foresight.asked("a", 0.0)
    foresight.asked("a", 15.0)
    assert not foresight.expects(16.0, 17.0)
    assert foresight.expects(28.9, 30.0)
    assert foresight.expects(31.0, 32.0), "it is late"


def test_each_has_an_interval_of_their_own() -> None:
    """Two of one interval that take turns are not one of half of it."""
    foresight = Foresight()
    for now_s in (0.0, 15.0):
        foresight.asked("a", now_s)
        foresight.asked("b", now_s + 4)
    assert not foresight.expects(20.0, 24.0)
    assert foresight.expects(29.0, 30.0)
    foresight.asked("a", 30.0)
    assert not foresight.expects(31.0, 33.0)
    assert foresight.expects(33.0, 34.0)


def test_who_does_not_come_is_forgotten() -> None:
    foresight = Foresight()
    foresight.asked("a", 0.0)
    foresight.asked("a", 10.0)
    assert foresight.expects(34.0, 35.0)
    assert not foresight.expects(36.0, 1e9)
    foresight.asked("a", 40.0)
    assert not foresight.expects(51.0, 1e9), "as if it were new"


def test_who_asks_often_may_be_held_up() -> None:
    foresight = Foresight()
    foresight.asked("a", 0.0)
    foresight.asked("a", 1.0)
    assert foresight.expects(10.9, 12.0)
    assert not foresight.expects(11.1, 12.0)


def test_few_are_remembered() -> None:
    foresight = Foresight()
    for now_s in (0.0, 1.0):
        foresight.asked("a", now_s)
    assert foresight.expects(1.0, 2.0)
    for number in range(1000):
        foresight.asked(str(number), -20.0)
    assert not foresight.expects(1.0, 2.0)
