"""A heat map as SVG: buckets of a histogram from the bottom up, time from left to right, the denser the fuller."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import Any

from . import units
from .answers import Series
from .lines import Plane, svg

Json = dict[str, Any]


def draw(panel: Json, series: Sequence[Series], size: tuple[int, int], span_s: tuple[float, float]) -> str:
    """The panel's buckets that hold something, and those between; each series is one bound, cumulative."""
    unit = panel["options"]["yAxis"]["unit"]
    bounds = sorted(series, key=lambda one: float(one.labels["le"]))
    cells = _cells(bounds)
    full = [i for i, row in enumerate(cells) if any(count > 0 for _, count in row)]
    if not full:
        return '<p class="none">No observations</p>'
    lowest, highest = full[0], full[-1]
    most = max(count for row in cells for _, count in row)
    moments = sorted({at for one in series for at, _ in one.points})
    step_s = min((b - a for a, b in pairwise(moments)), default=1.0)
    plane = Plane(*size, *span_s, highest - lowest + 1.0)
    parts = [plane.clock()]
    for i in range(lowest, highest + 1):
        top, bottom = plane.y(i - lowest + 1), plane.y(i - lowest)
        name = units.text(float(bounds[i].labels["le"]), unit) if bounds[i].labels["le"] != "+Inf" else "more"
        parts.append(f'<text x="66" y="{(top + bottom) / 2 + 4:.1f}" class="end">{escape(name)}</text>')
        for at, count in cells[i]:
            if count > 0:
                x, right = max(plane.x(at - step_s), plane.x(span_s[0])), plane.x(at)
                parts.append(
                    f'<rect x="{x:.1f}" y="{top:.1f}" width="{max(right - x, 0):.1f}" height="{bottom - top - 1:.1f}" '
                    f'fill="var(--heat)" fill-opacity="{0.15 + 0.85 * math.sqrt(count / most):.2f}"/>'
                )
    return svg(*size, "".join(parts))


def _cells(bounds: Sequence[Series]) -> list[list[tuple[float, float]]]:
    """What lies between each bound and the one below it, at each time."""
    below: dict[float, float] = {}
    cells = []
    for one in bounds:
        finite = {at: value for at, value in one.points if math.isfinite(value)}
        cells.append([(at, max(0.0, value - below.get(at, 0.0))) for at, value in finite.items()])
        below = finite
    return cells
