"""Samples of an exposition text."""

from __future__ import annotations

import pytest

from pipeline.diagnosis.scrape import parse

TEXT = """# HELP a_total Something.
# TYPE a_total counter
a_total{x="1",y="p"} 3
a_total{x="1",y="q\\"{ \\\\"} 4
a_total{x="2",y="p"} 5
a_total_more 1
b 2.5
broken{ 7
"""


def test_only_the_names_that_are_wanted_are_read_whole_and_exactly() -> None:
    found = parse(TEXT, ["a_total", "b"])
    assert found.by("a_total", "x") == {("1",): 7.0, ("2",): 5.0}
    assert found.of("a_total", x="1")[1] == ({"x": "1", "y": 'q"{ \\'}, 4.0)
    assert found.value("b") == 2.5
    assert found.value("a_total_more") is None


def test_a_line_of_a_wanted_name_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="could not convert"):
        parse(TEXT, ["broken"])
