"""A tenant that would make a series of everything: the budget holds to the series, sums stay exact, the others keep
what they had, who comes later has all of its own, and neither memory nor a scrape grows much."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.bomb import CALM, LATE, LATE_PEERS, SERIES, SHAPES, TALKS_TO
from tests.faults.counts import IS_ALL, often, tell

ROUNDS = {"everywhere": often(2, 10), "many": 3, "churning": often(3, 60), "renaming": often(3, 60), CALM: 0}
ROWS = {
    "everywhere": often(10_000, 200_000),
    "many": often(3_000, 100_000),
    "churning": often(3_000, 20_000),
    "renaming": often(3_000, 20_000),
    CALM: 0,
}


def run(shape: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.faults.bomb", shape, *map(str, (ROUNDS[shape], ROWS[shape]))]
    ended = subprocess.run(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, check=True)
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


@pytest.fixture(scope="module")
def calm() -> dict[str, Any]:
    """The same tenants without a bomb beside them."""
    return run(CALM)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_bomb_of_series_is_folded_and_the_others_have_what_is_theirs(shape: str, calm: dict[str, Any]) -> None:
    told = run(shape)
    (steady_rss, _), (steady_s, bombed_s) = told["rss"], told["scraped"]
    tell(told)
    tell(f"{shape}: memory {told['peak'] / steady_rss:.2f} times what it was, a page {bombed_s / steady_s:.2f} times")
    assert told["folded"][0] == 0
    assert told["folded"][1] > 0 or shape == "everywhere"
    assert told["series"][1] <= calm["series"][1] + 100 or shape != "everywhere", "addresses and ports are no labels"
    assert max(told["series"]) <= SERIES
    assert told["flow_bytes"] == told["sent"]
    assert told["own"] == calm["own"]
    assert told["page"][1] <= 2 * told["page"][0]
    assert told["peak"] <= 1.3 * steady_rss
    if shape != "churning":  # who makes namespaces at will has a share for each
        assert calm["late_series"][1] >= len(LATE) * LATE_PEERS * TALKS_TO
        assert told["late"] == calm["late"], "who came while it went on has every series of its own"
    if IS_ALL:
        assert bombed_s <= 2 * steady_s
