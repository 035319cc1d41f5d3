"""Rows as a table: for people, and harmless on their terminal."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime

import polars as pl

from pipeline.cli.output import write


def written(rows: pl.DataFrame, form: str) -> list[str]:
    to = io.BytesIO()
    write(rows, form, to)
    return to.getvalue().decode().splitlines()


def test_a_table_has_sizes_times_to_the_second_and_dashes() -> None:
    at = datetime(2026, 3, 2, 10, 11, 12, 345678, UTC)
    rows = pl.DataFrame(
        {"at": [at, None], "bytes": [1_536_000, None], "denied_bytes": [999, 0], "rows": [1_536_000, 1]}
    )
    assert written(rows, "table") == [
        "at                    bytes  denied     rows",
        "2026-03-02 10:11:12  1.5 MB   999 B  1536000",
        "-                         -     0 B        1",
    ]


def test_programs_get_the_numbers_as_they_are() -> None:
    assert written(pl.DataFrame({"bytes": [1_536_000]}), "csv") == ["bytes", "1536000"]
    assert written(pl.DataFrame({"bytes": [1_536_000]}), "jsonl") == ['{"bytes":1536000}']


def test_a_name_cannot_draw_on_the_terminal_nor_forge_a_line() -> None:
    (_, line) = written(pl.DataFrame({"name": ["a\x1b[2Jb\nc\u2028d"]}), "table")
    assert line == "a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}d"


def test_csv_has_lists_as_json_and_times_as_json_has_them() -> None:
    """Rows of the history, as `observe -o csv` writes them."""
    at = datetime(2026, 3, 2, 10, 11, 12, 345678, UTC)
    rows = pl.DataFrame({"time": [at], "policies": [['isolates NetworkPolicy/shop/it\'s "new"/']]})
    ((_, (time, policies)),) = (csv.reader(written(rows, "csv")),)
    assert time == "2026-03-02T10:11:12.345678+00:00"
    assert json.loads(policies) == ['isolates NetworkPolicy/shop/it\'s "new"/']
