"""What all dashboards share: identity, time, links among each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from grafanalib.core import Annotations, Dashboard, DashboardLink, Template, Templating, Time

from .layout import Section, place

TAG: Final = "flowatlas"

ANNOTATIONS: Final = {
    "Policies added or removed": ("purple", 'sum (changes(flowatlas_state_objects{kind=~".*Policy"}[2m])) > 0'),
    "Flowatlas restarted": (
        "gray",
        "sum (resets(flowatlas_pipeline_rows_total[2m])) > 0 or sum (resets(flowatlas_collector_rows_total[2m])) > 0",
    ),
}
"""Lines across all panels, each with its colour and query. Grafana asks each minute of the time shown, so that a window
of two loses no change between them."""


def frame(
    uid: str, title: str, description: str, variables: Iterable[Template], sections: Iterable[Section]
) -> Dashboard:
    """A dashboard whose address is `/d/{uid}`; links to its siblings carry the time range and the drop-downs along."""
    return Dashboard(
        uid=uid,
        title=title,
        description=description,
        tags=[TAG],
        editable=True,
        graphTooltip=1,
        refresh="30s",
        time=Time("now-1h", "now"),
        timezone="browser",
        links=[DashboardLink(title="Flowatlas", tags=[TAG], asDropdown=True, includeVars=True, keepTime=True)],
        annotations=Annotations([_annotation(name, *what) for name, what in ANNOTATIONS.items()]),
        templating=Templating(list(variables)),
        panels=place(sections),
    )


def _annotation(name: str, color: str, expression: str) -> dict[str, object]:
    return {"name": name, "enable": True, "iconColor": color, "expr": expression}
