"""Reasons: one certainty each, the worst first, and each documented."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from pipeline.attribution.confidence import CERTAINTY, EXACT, REASON, REASONS, attribution, reason

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
    codes = [item.code for item in REASONS]
    rows: list[dict[str, bool | None]] = []
    rows += [{code: code == own for code in codes} for own in codes]
    rows += [dict.fromkeys(codes, False), dict.fromkeys(codes, True), dict.fromkeys(codes)]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(codes, pl.Boolean))
    told = frame.select(reason({code: pl.col(code) for code in codes}).alias("reason")).with_columns(
        attribution=attribution("reason")
    )
    assert told.schema == {"reason": REASON, "attribution": CERTAINTY}
    by_code = {item.code: item.attribution for item in (EXACT, *REASONS)}
    assert told["reason"].to_list() == [*codes, "", codes[0], ""]
    assert told["attribution"].to_list() == [by_code[code] for code in told["reason"]]
