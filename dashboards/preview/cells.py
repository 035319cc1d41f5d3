"""Figures and tables as HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any, Final

from . import units
from .answers import Series
from .lines import sparkline

ROWS: Final = 50
"""Of a table; Grafana pages through more."""

Json = dict[str, Any]


def figure(panel: Json, series: Sequence[Series], size: tuple[int, int]) -> str:
    """The newest value in the colour of its threshold, over a line of how it came about."""
    field = panel["fieldConfig"]["defaults"]
    shown = series[0]
    last = next((value for _, value in reversed(shown.points) if not math.isnan(value)), math.nan)
    color = _color(field, last)
    name = f" <small>{escape(shown.name)}</small>" if panel["options"]["textMode"] == "value_and_name" else ""
    return (
        f'<div class="figure" style="color:{color}">{escape(units.text(last, field["unit"]))}{name}</div>'
        f"{sparkline(shown.points, size, color)}"
    )


def table(panel: Json, series: Sequence[Series]) -> str:
    """The rows that Grafana's merge makes: one for each combination of labels, a column for each query."""
    names: dict[str, str] = next(
        t["options"]["renameByName"] for t in panel["transformations"] if t["id"] == "organize"
    )
    units_of, told = _overridden(panel, "unit"), _overridden(panel, "mappings")
    keys = [label for label in names if not label.startswith("Value #")]
    columns = [(name.removeprefix("Value #"), heading) for name, heading in names.items() if name not in keys]
    rows: dict[tuple[str, ...], dict[str, float]] = {}
    for one in series:
        rows.setdefault(tuple(one.labels.get(key, "") for key in keys), {})[one.ref] = one.last
    first, leading = columns[0]
    ordered = sorted(rows.items(), key=lambda row: (-row[1].get(first, -math.inf), row[0]))
    largest = 0.0 if leading in told else max((values.get(first, 0.0) for values in rows.values()), default=0.0)
    head = "".join(f"<th>{escape(names[key])}</th>" for key in keys)
    head += "".join(f'<th class="number">{escape(heading)}</th>' for _, heading in columns)
    body = "".join(
        "<tr>"
        + "".join(f"<td>{escape(key or units.NOTHING)}</td>" for key in row)
        + "".join(
            _cell(values.get(ref, math.nan), units_of[heading], told.get(heading, ()), largest if ref == first else 0.0)
            for ref, heading in columns
        )
        + "</tr>"
        for row, values in ordered[:ROWS]
    )
    return f'<div class="scroll"><table class="rows"><tr>{head}</tr>{body}</table></div>'


def _overridden(panel: Json, what: str) -> dict[str, Any]:
    """What the columns have of their own, by their headings."""
    return {
        override["matcher"]["options"]: item["value"]
        for override in panel["fieldConfig"]["overrides"]
        for item in override["properties"]
        if item["id"] == what
    }


def _cell(value: float, unit: str, told: Sequence[Json], largest: float) -> str:
    ranges = [mapping["options"] for mapping in told if mapping["type"] == "range"]
    named = [one["result"]["text"] for one in ranges if one["from"] <= value <= one["to"]]
    shown = named[0] if named else units.text(value, unit)
    bar = ""
    if largest > 0 and math.isfinite(value):
        bar = f' style="--part:{max(0.0, min(1.0, value / largest)):.0%}"'
    return f'<td class="number{" bar" if bar else ""}"{bar}>{escape(shown)}</td>'


def _color(field: Json, value: float) -> str:
    if field.get("color", {}).get("mode") != "thresholds":
        return "var(--blue)"
    reached = [step for step in field["thresholds"]["steps"] if step["value"] is None or value >= step["value"]]
    return f"var(--{reached[-1]['color']})"
