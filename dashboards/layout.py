"""Where panels stand: sections of lines of panels on Grafana's grid of 24 columns.

Positions are computed here and nowhere else, so panels cannot overlap and an inserted line moves what is below it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import attr
from grafanalib.core import GridPos, Panel, RowPanel

COLUMNS: Final = 24


@dataclass(frozen=True, slots=True)
class Line:
    """Panels side by side, as wide as each other, `height` grid units (30 pixels) high."""

    height: int
    panels: tuple[Any, ...]  # grafanalib's; the package has no types


@dataclass(frozen=True, slots=True)
class Section:
    """Lines under a heading; the first section of a dashboard needs none."""

    title: str
    lines: tuple[Line, ...]


def line(height: int, *panels: Any) -> Line:
    """A line of panels. Raises ValueError where their number does not divide the grid's columns."""
    if not panels or COLUMNS % len(panels):
        raise ValueError(f"{len(panels)} panels do not share {COLUMNS} columns evenly")
    return Line(height, panels)


def section(title: str, *lines: Line) -> Section:
    """A section with its lines."""
    return Section(title, lines)


def place(sections: Iterable[Section]) -> list[Panel]:
    """The sections' panels with their positions, from the top down."""
    placed, y = [], 0
    for part in sections:
        if part.title:
            placed.append(RowPanel(title=part.title, gridPos=GridPos(h=1, w=COLUMNS, x=0, y=y)))
            y += 1
        for row in part.lines:
            width = COLUMNS // len(row.panels)
            for i, panel in enumerate(row.panels):
                placed.append(attr.evolve(panel, gridPos=GridPos(h=row.height, w=width, x=i * width, y=y)))
            y += row.height
    return placed
