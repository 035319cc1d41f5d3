"""YAML of a person's hand: keys that are there twice, and those that only look so."""

from __future__ import annotations

import pytest
import yaml

from collector.handwritten import RepeatedKeyError, decode_yaml


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "'a' is there twice, in lines 1 and 3"),
        ("a:\n- {b: 1, 'b': 2}", "'b' is there twice, in lines 2 and 2"),
        ("1: a\n0x1: b", "1 is there twice, in lines 1 and 2"),
    ],
)
def test_a_key_that_is_there_twice_is_refused_at_any_depth(text: str, said: str) -> None:
    with pytest.raises(RepeatedKeyError) as caught:
        decode_yaml(text)
    assert str(caught.value) == said


def test_an_anchor_may_be_overridden_and_others_have_keys_of_the_same_name() -> None:
    text = "base: &base {a: 1, b: 2}\none: {<<: *base, a: 3}\ntwo: {a: 4}"
    assert decode_yaml(text) == {"base": {"a": 1, "b": 2}, "one": {"a": 3, "b": 2}, "two": {"a": 4}}


def test_what_is_no_yaml_is_refused_as_such() -> None:
    with pytest.raises(yaml.YAMLError):
        decode_yaml("a: [")
