"""Names of our own metrics and of the history's columns in the pages are names that there are."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.catalog import METRICS
from pipeline.outputs.history import HISTORY

DOCS = Path(__file__).parents[2] / "docs"
NOTEBOOKS = DOCS.parent / "notebooks"
_COLUMNS = re.compile(r"column of the history \|\n.*\n((?:\|.*\n)*)")


def test_a_metric_that_a_page_names_is_in_the_catalogue() -> None:
    known = {name for metric in METRICS for name in (metric.name, *metric.series)}
    for page in (*DOCS.rglob("*.md"), *NOTEBOOKS.glob("*.py")):
        if page.parent.name in {"reference", "project"}:
            continue
        named = set(re.findall(r"`(flowatlas_[a-z0-9_]+)(?:\{[^`]*)?`", page.read_text()))
        assert {name for name in named if name not in known} == set(), page.name


def test_a_column_that_a_page_names_is_in_the_history() -> None:
    tables = _COLUMNS.findall((DOCS / "how-to" / "migrate.md").read_text())
    assert len(tables) == 2
    for row in (row for table in tables for row in table.splitlines()):
        cell = row.strip("|").split("|")[1]
        for name in re.findall(r"`([a-z_]+)`", cell):
            if not name.startswith("flowatlas_") and name not in {"out", "in", "local"} and "pipeline" not in name:
                assert name in HISTORY, row
