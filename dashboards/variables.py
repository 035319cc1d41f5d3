"""The drop-downs on top of a dashboard.

Each label's drop-down takes several values and begins at All, which stands for `.*`: series without the label (what is
outside the cluster has no namespace) are then shown too.
"""

from __future__ import annotations

from typing import Final

from grafanalib.core import REFRESH_ON_TIME_RANGE_CHANGE, Template

from .queries import Filter, label_values

DATASOURCE: Final = "datasource"
ALL: Final = ".*"


def datasource() -> Template:
    """Which Prometheus to ask."""
    return Template(name=DATASOURCE, label="Prometheus", type="datasource", query="prometheus")


def label(name: str, title: str, metric: str, of: str, where: Filter | None = None) -> Template:
    """The values that the label `of` has on `metric`, among the series that `where` lets through."""
    return Template(
        name=name,
        label=title,
        query=label_values(metric, of, where or {}),
        includeAll=True,
        multi=True,
        allValue=ALL,
        refresh=REFRESH_ON_TIME_RANGE_CHANGE,
    )
