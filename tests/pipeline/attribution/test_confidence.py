"""Reasons: one certainty each, the worst first, and each documented."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from pipeline.attribution import arrays
from pipeline.attribution.confidence import CERTAINTY, EXACT, REASON, REASONS, attribution, certainties, worsen

PAGE = Path(__file__).resolve().parents[3] / "docs" / "explanation" / "attribution.md"


def test_the_page_lists_every_reason_in_order() -> None:
    rows = [f"| `{item.code}` | {item.attribution} | {item.meaning} |" for item in REASONS]
    listed = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert listed == rows


def test_the_worst_come_first() -> None:
    order = ["unknown", "ambiguous", "inferred", "exact"]
    places = [order.index(item.attribution) for item in REASONS]
    assert places == sorted(places)


def test_of_several_reasons_the_worst_is_given_and_tells_the_certainty() -> None:
    """One row for each reason alone, one for none, and one for all; whichever is told first."""
    codes = [item.code for item in REASONS]
    by_code = {item.code: item.attribution for item in (EXACT, *REASONS)}
    for order in (codes, codes[::-1]):
        reasons = np.zeros(len(codes) + 2, np.uint8)
        for code in order:
            worsen(reasons, np.array([codes.index(code), len(codes) + 1]), code)
        told = pl.DataFrame({"reason": arrays.enumerated(reasons, REASON)})
        assert told["reason"].to_list() == [*codes, "", codes[0]]
        certainty = told.select(attribution("reason")).to_series()
        assert certainty.dtype == CERTAINTY
        assert certainty.to_list() == [by_code[code] for code in told["reason"]]
        assert certainty.equals(certainties(reasons))
