"""The price table's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.prices import Price, load_prices


def test_a_table(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(
        "currency: EUR\nper_gigabyte:\n  cross_zone: {egress: 0.01, ingress: 0.02}\n  internet: {egress: 1}\n"
    )
    told = load_prices(file)
    assert told.currency == "EUR"
    assert told.per_gigabyte == {"cross_zone": Price(0.01, 0.02), "internet": Price(1.0, 0.0)}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("currency: EUR\nper_gigabyte: {far_away: {egress: 1}}", "far_away"),
        ("currency: EUR\nper_gigabyte: {internet: {egress: -1}}", "egress"),
        ("currency: EUR\nper_gigabyte: {internet: {egress: .nan}}", "egress"),
        ("currency: EUR\nper_gigabyte: {internet: {outward: 1}}", "outward"),
        ("currency: euro\nper_gigabyte: {}", "currency"),
        ("currency: EUR", "per_gigabyte"),
        ("currency: [", r"prices\.yaml"),
        ("currency: EUR\nper_gigabyte:\n  internet: {egress: 1}\n  internet: {egress: 2}", "'internet' is there twice"),
    ],
)
def test_errors_name_the_file_and_the_key(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=named) as caught:
        load_prices(file)
    assert "prices.yaml" in str(caught.value)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load_prices(tmp_path / "none.yaml")
