"""The example files load as they are."""

from __future__ import annotations

from pathlib import Path

from pipeline.inventory import outside_file
from pipeline.prices import load_prices

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"


def test_named_ranges() -> None:
    names = {found.place.name for found in outside_file.load(EXAMPLES / "outside.yaml")}
    assert {"partner", "data-centre", "cloud-metadata"} <= names


def test_prices() -> None:
    prices = load_prices(EXAMPLES / "prices.yaml")
    assert prices.per_gigabyte["cross_zone"].ingress > 0
