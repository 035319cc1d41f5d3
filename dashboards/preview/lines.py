"""Time series as SVG: lines, or areas on each other, over an axis of time, with a legend of mean and maximum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from statistics import fmean
from typing import Any, Final

from . import units
from .answers import Point, Series

COLORS: Final = 10
"""How many colours of lines the page's style knows: `--c0` to `--c9`."""
NAMED: Final = 40
"""Series in a legend; a person reads fewer."""

_LEFT: Final = 72
_BOTTOM: Final = 20
_TOP: Final = 6
_RIGHT: Final = 8
_HALF_CLOCK: Final = 25
"""Half of what a time of day takes on its axis."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plane:
    """Where times and values lie on a drawing of `width` by `height`; `high` is the largest value of the axis."""

    width: int
    height: int
    start_s: float
    end_s: float
    high: float

    def x(self, at_s: float) -> float:
        """From the left."""
        return _LEFT + (at_s - self.start_s) / (self.end_s - self.start_s) * (self.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """From the top."""
        return self.height - _BOTTOM - value / self.high * (self.height - _TOP - _BOTTOM)

    def frame(self, unit: str, values: Sequence[float]) -> str:
        """Grid lines and what they stand for, at `values`."""
        parts = []
        for value in values:
            y = self.y(value)
            parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{self.width - _RIGHT}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" class="end">{escape(units.text(value, unit))}</text>')
        return "".join(parts) + self.clock()

    def clock(self) -> str:
        """The axis of time."""
        parts = []
        for at, shown in units.times(self.start_s, self.end_s, max(2, self.width // 110)):
            x = self.x(at)
            parts.append(f'<path class="grid" d="M{x:.1f} {_TOP}V{self.height - _BOTTOM}"/>')
            place = (x, "middle") if x + _HALF_CLOCK <= self.width else (self.width, "end")
            parts.append(f'<text x="{place[0]:.1f}" y="{self.height - 5}" class="{place[1]}">{shown}</text>')
        return "".join(parts)


def svg(width: int, height: int, inside: str) -> str:
    """A drawing that is as wide as its place."""
    return f'<svg viewBox="0 0 {width} {height}" role="img">{inside}</svg>'


def draw(panel: Json, series: Sequence[Series], size: tuple[int, int], span_s: tuple[float, float]) -> str:
    """The panel's chart and legend, in `size` pixels, over the times of `span_s`; the largest come first."""
    field = panel["fieldConfig"]["defaults"]
    unit = field["unit"]
    is_stacked = field["custom"]["stacking"]["mode"] == "normal"
    ordered = sorted(series, key=lambda one: (-_mean(one), one.name))
    drawn = _stacked(ordered) if is_stacked else [(one.points, ()) for one in ordered]
    width, height = size
    chart = max(height - min(18 * len(ordered) + 22, height // 3), 80)
    largest = max((value for points, _ in drawn for _, value in points if math.isfinite(value)), default=0.0)
    marks = units.ticks(largest, max(2, chart // 45), unit)
    plane = Plane(width, chart, *span_s, marks[-1])
    gap_s = _gap(ordered)
    lines = []
    for i, (points, below) in reversed(list(enumerate(drawn))):
        color = f"var(--c{i % COLORS})"
        if is_stacked and len(points) > 1:
            outline = "L".join(f"{plane.x(at):.1f} {plane.y(v):.1f}" for at, v in (*points, *reversed(below)))
            lines.append(f'<path d="M{outline}Z" fill="{color}" fill-opacity=".35"/>')
        lines.append(f'<path class="line" stroke="{color}" d="{_path(plane, points, gap_s)}"/>')
    limits = _limits(panel, plane)
    return svg(width, chart, plane.frame(unit, marks) + "".join(lines) + limits) + _legend(ordered, unit)


def sparkline(points: Sequence[Point], size: tuple[int, int], color: str) -> str:
    """A line without axes, over its area."""
    finite = [(at, value) for at, value in points if math.isfinite(value)]
    if len(finite) < 2:
        return ""
    width, height = size
    low, high = min(0.0, *(v for _, v in finite)), max(v for _, v in finite)
    start, end = finite[0][0], finite[-1][0]
    at = [
        f"{(t - start) / (end - start) * width:.1f} {height - 2 - (v - low) / ((high - low) or 1) * (height - 4):.1f}"
        for t, v in finite
    ]
    line = "L".join(at)
    area = f'<path d="M0 {height}L{line}L{width} {height}Z" fill="{color}" fill-opacity=".15"/>'
    inside = f'{area}<path class="line" stroke="{color}" d="M{line}"/>'
    return f'<svg class="spark" viewBox="0 0 {width} {height}" preserveAspectRatio="none">{inside}</svg>'


def _mean(series: Series) -> float:
    finite = [value for _, value in series.points if math.isfinite(value)]
    return fmean(finite) if finite else 0.0


def _stacked(series: Sequence[Series]) -> list[tuple[tuple[Point, ...], tuple[Point, ...]]]:
    """Each series' upper and lower edge, the largest at the bottom; where one has no point it adds nothing."""
    moments = sorted({at for one in series for at, _ in one.points})
    edge = dict.fromkeys(moments, 0.0)
    stacked = []
    for one in series:
        below = tuple(edge.items())
        for at, value in one.points:
            edge[at] += value if math.isfinite(value) else 0.0
        stacked.append((tuple(edge.items()), below))
    return stacked


def _gap(series: Sequence[Series]) -> float:
    """From which distance on points are not joined: one and a half of the usual."""
    between = [b[0] - a[0] for one in series for a, b in pairwise(one.points)]
    return 1.5 * min(between, default=1.0)


def _path(plane: Plane, points: Sequence[Point], gap_s: float) -> str:
    parts, before = [], -math.inf
    for at, value in points:
        if not math.isfinite(value):
            continue
        verb = "L" if at - before <= gap_s else "M"
        parts.append(f"{verb}{plane.x(at):.1f} {plane.y(value):.1f}")
        before = at
    return "".join(parts) + "h.1" if len(points) == 1 else "".join(parts)


def _limits(panel: Json, plane: Plane) -> str:
    """Lines at the panel's thresholds, where they lie within the axis."""
    field = panel["fieldConfig"]["defaults"]
    if field["custom"].get("thresholdsStyle", {}).get("mode") != "line":
        return ""
    return "".join(
        f'<path class="limit" stroke="var(--{step["color"]})" d="M{_LEFT} {plane.y(step["value"]):.1f}'
        f'H{plane.width - _RIGHT}"/>'
        for step in field["thresholds"]["steps"]
        if step["value"] is not None and step["value"] <= plane.high
    )


def _legend(series: Sequence[Series], unit: str) -> str:
    rows = []
    for i, one in enumerate(series[:NAMED]):
        largest = max((value for _, value in one.points if math.isfinite(value)), default=math.nan)
        rows.append(
            f'<tr><td><i style="background:var(--c{i % COLORS})"></i>{escape(one.name)}</td>'
            f"<td>{escape(units.text(_mean(one), unit))}</td><td>{escape(units.text(largest, unit))}</td></tr>"
        )
    if len(series) > NAMED:
        rows.append(f"<tr><td>and {len(series) - NAMED} more</td><td></td><td></td></tr>")
    heading = "<tr><th></th><th>mean</th><th>max</th></tr>"
    return f'<div class="legend"><table>{heading}{"".join(rows)}</table></div>'
