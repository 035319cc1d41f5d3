"""What all dashboards share: identity, time, links among each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from grafanalib.core import Dashboard, DashboardLink, Template, Templating, Time

from .layout import Section, place

TAG: Final = "flowatlas"


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
        templating=Templating(list(variables)),
        panels=place(sections),
    )
