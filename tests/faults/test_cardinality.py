"""A tenant that would make a series of everything: the budget holds to the series, sums stay exact, the others keep
what they had, and neither memory nor a scrape grows much."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.aggregate.scans import MOST_ROWS
from tests.faults.bomb import SERIES, SHAPES
from tests.faults.counts import IS_ALL, often, tell

ROUNDS = {"everywhere": often(2, 10), "many": 3, "churning": often(3, 60)}
ROWS = {"everywhere": often(10_000, 200_000), "many": often(3_000, 100_000), "churning": often(3_000, 20_000)}
SCANS_BYTES = 2 * 32 * MOST_ROWS
"""What destinations of ten minutes that were tried in vain take: so many at most, and once more to sort them."""


@pytest.mark.parametrize("shape", SHAPES)
def test_a_bomb_of_series_is_folded_and_the_others_keep_what_they_have(shape: str) -> None:
    command = [sys.executable, "-m", "tests.faults.bomb", shape, *map(str, (ROUNDS[shape], ROWS[shape]))]
    run = subprocess.run(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, check=True)
    told = json.loads(run.stdout)
    (steady_rss, _), (steady_s, bombed_s) = told["rss"], told["scraped"]
    tell(told)
    tell(f"{shape}: memory {told['peak'] / steady_rss:.2f} times what it was, a page {bombed_s / steady_s:.2f} times")
    assert told["folded"][0] == 0
    assert told["folded"][1] > 0 or shape == "everywhere"
    assert told["series"][1] <= told["series"][0] + 100 or shape != "everywhere", "addresses and ports are no labels"
    assert max(told["series"]) <= SERIES
    assert told["flow_bytes"] == told["sent"]
    assert told["own"][0] == told["own"][1]
    assert told["page"][1] <= 2 * told["page"][0]
    assert told["peak"] <= 1.3 * steady_rss + SCANS_BYTES * (shape == "everywhere")
    if IS_ALL:
        assert bombed_s <= 2 * steady_s
