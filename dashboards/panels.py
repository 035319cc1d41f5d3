"""The panel library: a few panel kinds with the house's settings, so that a dashboard says only what it shows.

Each takes a title, a description for the reader, a unit (Grafana's id for it) and queries from `dashboards.queries`.
grafanalib makes the panels; what it cannot say of today's Grafana is in `extraJson`, what it says too much of is
removed by `dashboards.normalize`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, Final

from grafanalib.core import Panel, Stat, Table, Target, TimeSeries

from .queries import SHOWN_WINDOW, top

GREEN: Final = "green"
AMBER: Final = "orange"
RED: Final = "red"

FIGURE_POINTS: Final = 60
"""Of the line behind a figure."""
LINE_POINTS: Final = 240
"""Of a chart: an hour of what is scraped each 15 s. Else Grafana asks for one a pixel, each at a cost."""

COUNT: Final = "locale"
"""The unit of whole things in a table, written out: `increase` makes fractions of them, which say nothing."""
EMPTY: Final = "–"
"""What stands for a label without a value, as the namespace of a node."""
_ENDLESS: Final = 1e18

Thresholds = Mapping[float, str]
"""From which value on which colour; below the first the panel is green."""


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel and the name of its series: text with `{{label}}` in it."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Value:
    """One value column of a table: its heading, unit and instant query, grouped by the table's keys.

    From `never_from` on the word `never` stands for the value.
    """

    heading: str
    unit: str
    expression: str
    never_from: float | None = None


def stat(
    title: str,
    description: str,
    unit: str,
    expression: str,
    thresholds: Thresholds | None = None,
    *,
    name: str = "",
) -> Panel:
    """One figure as it is now, over a line of how it was; with a `name`, text with `{{label}}` in it, under the figure.

    A figure of the whole time shown has no line: it is asked for once, as the same sum for each point would take long.
    Where it is of things, it is a whole number.
    """
    is_of_the_time_shown = SHOWN_WINDOW in expression
    is_count = is_of_the_time_shown and unit == "short"
    return Stat(
        title=title,
        description=description,
        format=COUNT if is_count else unit,
        decimals=0 if is_count else None,
        noValue=None,
        reduceCalc="lastNotNull",
        graphMode="none" if is_of_the_time_shown else "area",
        maxDataPoints=FIGURE_POINTS,
        targets=[Target(expr=expression, legendFormat=name or title, refId="A", instant=is_of_the_time_shown)],
        textMode="value_and_name" if name else "auto",
        thresholds=_steps(thresholds or {}),
        color={"mode": "thresholds"} if thresholds else {"mode": "fixed", "fixedColor": "blue"},
    )


def timeseries(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    stacked: bool = False,
    thresholds: Thresholds | None = None,
) -> Panel:
    """Lines over time, or areas on each other where their sum means something; the legend sorts by what is large."""
    return TimeSeries(
        title=title,
        description=description,
        unit=unit,
        maxDataPoints=LINE_POINTS,
        fillOpacity=30 if stacked else 8,
        showPoints="never",
        stacking={"mode": "normal" if stacked else "none", "group": "A"},
        legendDisplayMode="table",
        legendCalcs=["mean", "max"],
        tooltipMode="multi",
        tooltipSort="desc",
        axisSoftMin=0,
        thresholds=_steps(thresholds or {}) if thresholds else [],
        thresholdsStyleMode="line" if thresholds else "off",
        targets=[
            Target(expr=query.expression, legendFormat=query.legend, refId=ref)
            for query, ref in zip(queries, ascii_uppercase, strict=False)
        ],
        extraJson={"options": {"legend": {"showLegend": True, "sortBy": "Mean", "sortDesc": True}}},
    )


def table(
    title: str,
    description: str,
    keys: Mapping[str, str],
    values: Sequence[Value],
    *,
    rows: int,
    links: Mapping[str, str] | None = None,
) -> Panel:
    """One row a combination of `keys` (label to heading), the `rows` largest by the first value.

    `links` maps a key's heading to the address that its cells lead to.
    """
    if len(values) < 2:
        raise ValueError(f"{title}: Grafana names the value columns apart only where there are two or more")
    largest = top(rows, values[0].expression)
    kept = [largest, *(f"({value.expression}) and on ({', '.join(keys)}) {largest}" for value in values[1:])]
    columns = {f"Value #{ref}": value.heading for ref, value in zip(ascii_uppercase, values, strict=False)}
    headings = {**keys, **columns}
    return Table(
        title=title,
        description=description,
        displayMode="auto",
        filterable=True,
        maxDataPoints=None,
        targets=[
            Target(expr=expression, format="table", instant=True, refId=ref)
            for expression, ref in zip(kept, ascii_uppercase, strict=False)
        ],
        overrides=[
            *(_column(value, as_bar=value is values[0] and value.never_from is None) for value in values),
            *(_link(heading, url) for heading, url in (links or {}).items()),
        ],
        transformations=[
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": {"Time": True},
                    "indexByName": {name: i for i, name in enumerate(headings)},
                    "renameByName": headings,
                },
            },
        ],
        extraJson={
            "options": {"sortBy": [{"displayName": values[0].heading, "desc": True}], "cellHeight": "sm"},
            "fieldConfig": {"defaults": {"mappings": [_told("special", EMPTY, match="empty")]}},
        },
    )


def _column(value: Value, *, as_bar: bool) -> dict[str, Any]:
    properties: list[dict[str, Any]] = [{"id": "unit", "value": value.unit}]
    if as_bar:
        properties += [
            {"id": "custom.cellOptions", "value": {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}},
            {"id": "min", "value": 0},
        ]
    if value.unit == COUNT:
        properties.append({"id": "decimals", "value": 0})
    if value.never_from is not None:
        never = _told("range", "never", **{"from": value.never_from, "to": _ENDLESS})
        properties.append({"id": "mappings", "value": [never]})
    return {"matcher": {"id": "byName", "options": value.heading}, "properties": properties}


def _told(kind: str, text: str, **what: object) -> dict[str, Any]:
    """Grafana's mapping of values to the text that stands for them."""
    return {"type": kind, "options": {**what, "result": {"text": text}}}


def _link(heading: str, url: str) -> dict[str, Any]:
    link = {"title": "Show ${__value.text}", "url": url, "targetBlank": False}
    return {
        "matcher": {"id": "byName", "options": heading},
        "properties": [{"id": "links", "value": [link]}],
    }


def _steps(thresholds: Thresholds) -> list[dict[str, Any]]:
    return [{"color": GREEN, "value": None}, *({"color": c, "value": v} for v, c in sorted(thresholds.items()))]
