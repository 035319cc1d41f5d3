"""A heat map: how many observations of a histogram fell into which bucket, over time.

Buckets are read as Prometheus has them, so the query returns the label `le` and no other, in the format `heatmap`:
Grafana then takes neighbouring buckets from each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from grafanalib.core import Panel, Target

from .queries import Filter, rate

FORMAT: Final = "heatmap"
POINTS: Final = 120
"""Columns; each asks for all buckets."""
_COLOR: Final = {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "fill": "dark-orange"}


class Heatmap(Panel):  # type: ignore[misc]  # grafanalib has no types
    """Grafana's panel; grafanalib's is of before Grafana 9."""

    def to_json_data(self) -> dict[str, Any]:
        """As grafanalib's own panels have it."""
        panel: dict[str, Any] = self.panel_json({"type": "heatmap"})
        return panel


def heatmap(title: str, description: str, unit: str, histogram: str, where: Iterable[Filter]) -> Panel:
    """The histogram's observations a second by bucket; `unit` is that of what was observed."""
    return Heatmap(
        title=title,
        description=description,
        maxDataPoints=POINTS,
        targets=[
            Target(
                expr=rate(f"{histogram}_bucket", by=("le",), where=where),
                format=FORMAT,
                legendFormat="{{le}}",
                refId="A",
            )
        ],
        extraJson={
            "options": {
                "calculate": False,
                "cellGap": 1,
                "color": _COLOR,
                "filterValues": {"le": 1e-9},
                "legend": {"show": True},
                "tooltip": {"mode": "single", "yHistogram": False},
                "yAxis": {"axisPlacement": "left", "unit": unit},
            },
            "fieldConfig": {"defaults": {"unit": "cps"}, "overrides": []},
        },
    )
