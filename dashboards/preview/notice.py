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
    """A paragraph of what is lacking from start to end; empty where a pipeline was there all the time."""
    said = _said(server, start_s, end_s, step_s)
    return f'<p class="notice">{escape(said)}</p>' if said else ""


def _said(server: Prometheus, start_s: float, end_s: float, step_s: float) -> str:
    try:
        found = server.range(ALIVE, start_s, end_s, step_s)
    except PrometheusError as error:
        return f"Prometheus does not tell whether there is a pipeline: {error}"
    there = [float(at) for at, _ in found[0]["values"]] if found else []
    if not there:
        return "Prometheus has nothing of a pipeline in this time. Does it scrape one? Its page /targets tells."
    if end_s - there[-1] > 2 * step_s:
        since = f"{datetime.fromtimestamp(there[-1], UTC):%H:%M:%S} UTC"
        return f"Prometheus has nothing of a pipeline since {since}; the last that it heard may be 5 min older."
    if there[0] - start_s > 2 * step_s and there[-1] - there[0] <= step_s * len(there):
        return f"Prometheus knows of a pipeline from {datetime.fromtimestamp(there[0], UTC):%H:%M:%S} UTC on only."
    away_s = end_s - start_s - step_s * (len(there) - 1)
    if away_s > 2 * step_s:
        return f"Prometheus has nothing of a pipeline for {units.text(away_s, 's')} of this time."
    return ""
