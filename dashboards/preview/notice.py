"""What the page says before anything else: that the server has nothing of Flowatlas, or not for all of the time."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import Final

from ..prometheus import Prometheus, PrometheusError
from . import units

ALIVE: Final = "count(flowatlas_build_info)"
"""There at each instant at which Prometheus knows of a pipeline: five minutes after its last word at most."""


def notice(server: Prometheus, start_s: float, end_s: float, step_s: float) -> str:
    """A paragraph of what is lacking from start to end; empty where a pipeline was there all the time.

    That it began later explains an empty left side and is no alarm; all else is one.
    """
    try:
        found = server.range(ALIVE, start_s, end_s, step_s)
    except PrometheusError as error:
        return _paragraph("alarm", f"Prometheus does not tell whether there is a pipeline: {error}")
    there = [float(at) for at, _ in found[0]["values"]] if found else []
    if not there:
        return _paragraph(
            "alarm", "Prometheus has nothing of a pipeline in this time. Does it scrape one? Its page /targets tells."
        )
    first, last = (f"{datetime.fromtimestamp(at, UTC):%H:%M:%S} UTC" for at in (there[0], there[-1]))
    if end_s - there[-1] > 2 * step_s:
        return _paragraph(
            "alarm", f"Prometheus has nothing of a pipeline since {last}; the last that it heard may be 5 min older."
        )
    away_s = there[-1] - there[0] - step_s * (len(there) - 1)
    if away_s > step_s:
        return _paragraph("alarm", f"Prometheus has nothing of a pipeline for {units.text(away_s, 's')} of this time.")
    if there[0] - start_s > 2 * step_s:
        return _paragraph("since", f"Prometheus knows of a pipeline from {first} on.")
    return ""


def _paragraph(kind: str, said: str) -> str:
    return f'<p class="notice {kind}">{escape(said)}</p>'
