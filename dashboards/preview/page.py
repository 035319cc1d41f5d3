"""The page: a tab for each dashboard, its panels in Grafana's grid, light and dark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from typing import Any, Final

from ..asking import Asking, asking
from ..check import OPTIONAL
from ..layout import COLUMNS
from ..prometheus import Prometheus
from ..promql import read
from . import cells, graph, heat, lines
from .answers import Answer, ask
from .notice import notice

WIDTH: Final = 1440
"""Pixels that panels are drawn for; the page shows them as wide as it is."""
POINTS: Final = 120
"""Of a line over the time shown."""

_ROW: Final = 38
"""Pixels from one of Grafana's grid rows to the next, 8 of them between panels."""
_HEADING: Final = 34
_FIRST: Final = "overview"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Preview:
    """The dashboards `documents` (by name) as one page, over the last `shown_s` seconds of what `server` has."""

    documents: Mapping[str, Json]
    server: Prometheus
    shown_s: float = 900.0

    def render(self, now_s: float) -> str:
        """Ask everything and draw it. Raises PrometheusError where the server does not answer at all."""
        scraped_s = self.server.scrape_interval_s()
        names = sorted(self.documents, key=lambda name: (name != _FIRST, self.documents[name]["title"]))
        pages = {
            name: _dashboard(
                self.documents[name],
                asking(self.documents[name], self.server, scraped_s, now_s, shown_s=self.shown_s, points=POINTS),
            )
            for name in names
        }
        start_s, step_s = now_s - self.shown_s, max(self.shown_s / POINTS, scraped_s)
        choices = "".join(
            f'<input type="radio" name="tab" id="tab-{name}"{" checked" if name == names[0] else ""}>' for name in names
        )
        labels = "".join(f'<label for="tab-{name}">{escape(_short(self.documents[name]))}</label>' for name in names)
        chosen = ",".join(f"#tab-{name}:checked~main>#{name}" for name in names)
        marked = ",".join(f'#tab-{name}:checked~nav>[for="tab-{name}"]' for name in names)
        style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
        shown = f"{datetime.fromtimestamp(now_s - self.shown_s, UTC):%Y-%m-%d %H:%M:%S} to "
        shown += f"{datetime.fromtimestamp(now_s, UTC):%H:%M:%S} UTC"
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width"><title>Flowatlas dashboards</title>'
            f"<style>{style}{chosen}{{display:block}}{marked}{{border-color:var(--accent);color:var(--text)}}</style>"
            f"</head><body><header><b>Flowatlas</b><span>{shown}, all namespaces</span>"
            '<span class="themes"><label><input type="radio" name="theme" checked> as the system</label>'
            '<label><input type="radio" name="theme" id="light"> light</label>'
            '<label><input type="radio" name="theme" id="dark"> dark</label></span></header>'
            f"{choices}<nav>{labels}</nav>{notice(self.server, start_s, now_s, step_s)}<main>"
            + "".join(f'<section id="{name}">{inside}</section>' for name, inside in pages.items())
            + "</main></body></html>\n"
        )


def _short(document: Json) -> str:
    return str(document["title"]).removeprefix("Flowatlas / ")


def _dashboard(document: Json, asks: Asking) -> str:
    parts = [f'<p class="about">{escape(document["description"])}</p><div class="grid">']
    for panel in document["panels"]:
        grid = panel["gridPos"]
        place = f"grid-area:{grid['y'] + 1}/{grid['x'] + 1}/span {grid['h']}/span {grid['w']}"
        if panel["type"] == "row":
            parts.append(f'<h2 style="{place}">{escape(panel["title"])}</h2>')
        else:
            about = escape(panel["description"], quote=True)
            parts.append(
                f'<article class="{panel["type"]}" style="{place}"><h3 title="{about}">{escape(panel["title"])}</h3>'
                f"{_inside(panel, ask(panel, asks), asks)}</article>"
            )
    return "".join(parts) + "</div>"


def _inside(panel: Json, answer: Answer, asks: Asking) -> str:
    if answer.problem:
        return f'<p class="none">{escape(answer.problem)}</p>'
    if not answer.series:
        return f'<p class="none">{escape(_why_empty(panel, asks))}</p>'
    grid = panel["gridPos"]
    size = (grid["w"] * WIDTH // COLUMNS - 24, grid["h"] * _ROW - 8 - _HEADING - 8)
    span_s = (asks.now_s - asks.shown_s, asks.now_s)
    match panel["type"]:
        case "stat":
            return cells.figure(panel, answer.series, (size[0], size[1] - 48))
        case "table":
            return cells.table(panel, answer.series)
        case "heatmap":
            return heat.draw(panel, answer.series, size, span_s)
        case "nodeGraph":
            return graph.draw(answer.series, size, panel["fieldConfig"]["defaults"]["unit"])
        case _:
            return lines.draw(panel, answer.series, size, span_s)


def _why_empty(panel: Json, asks: Asking) -> str:
    """No data, and the reason where the panel is of a metric that need not be there."""
    for target in panel["targets"]:
        for name in sorted(read(asks.expression(target["expr"])).metrics & OPTIONAL.keys()):
            return f"No data: {OPTIONAL[name]}"
    return "No data"
