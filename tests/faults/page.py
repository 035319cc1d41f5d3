"""The table of docs/explanation/faults.md as rows: what is claimed to be tested, and by what."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "faults.md"


@dataclass(frozen=True, slots=True)
class Row:
    """One fault."""

    number: int
    fault: str
    made_by: str
    tests: tuple[str, ...]
    """As pytest names them."""
    figure: str
    lacks: str


def rows() -> list[Row]:
    """The rows, from the first to the last."""
    found = []
    for line in PAGE.read_text().splitlines():
        if re.match(r"\| \d", line):
            number, fault, made_by, tests, figure, lacks = (cell.strip() for cell in line.strip("|").split("|"))
            found.append(Row(int(number), fault, made_by, tuple(re.findall(r"`([^`]+)`", tests)), figure, lacks))
    return found
