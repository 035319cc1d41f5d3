"""What is wrong with a dashboard, judged from its JSON alone: any dashboard's, not only those built here.

Each query must parse and name metrics, labels and variables that exist; each legend and column must be a label that the
query returns; each panel has a title, a description and a unit, its own id and its own place on the grid. What is
expected of dashboards everywhere is in `dashboards.conventions`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

from . import conventions
from .heatmap import FORMAT
from .layout import COLUMNS
from .normalize import SCHEMA_VERSION
from .promql import BUILT_IN, read, substitute, variables
from .variables import ALL

PANEL_TYPES: Final = frozenset({"heatmap", "nodeGraph", "stat", "table", "timeseries"})
"""Panel types in use, none of them Angular. A type joins them together with the checks that it needs."""

_GRAPH_COLUMNS: Final = {"nodes": frozenset({"id", "title"}), "edges": frozenset({"id", "source", "target"})}
"""The labels that Grafana's node graph cannot do without, by the name of the query."""
_LEGEND_LABEL: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_LABEL_VALUES: Final = re.compile(r"label_values\((?P<selector>.+),\s*(?P<label>\w+)\)")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong, and where: `place` is a panel's title and, for a query, its letter."""

    dashboard: str
    place: str
    problem: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.dashboard, self.place, self.problem) if part)


@dataclass(frozen=True, slots=True)
class VariableQuery:
    """A drop-down's query: the values of `label` among the series of `selector`."""

    selector: str
    label: str


def lint(name: str, document: Json) -> list[Finding]:
    """Everything wrong with the dashboard called `name`."""
    return [Finding(name, place, problem) for place, problem in _problems(document)]


def panels_of(document: Json) -> list[Json]:
    """The panels that show something, those inside collapsed rows too."""
    shown: list[Json] = []
    for panel in document.get("panels", []):
        shown += panel.get("panels", []) if panel.get("type") == "row" else [panel]
    return shown


def variable_query(text: str) -> VariableQuery | None:
    """Read a drop-down's query; None where it is none of the form `label_values(selector, label)`."""
    match = _LABEL_VALUES.fullmatch(text)
    return VariableQuery(match["selector"], match["label"]) if match else None


def _problems(document: Json) -> Iterator[tuple[str, str]]:
    if not document.get("uid"):
        yield "", "has no uid, so its address would change with each import"
    if document.get("schemaVersion") != SCHEMA_VERSION:
        yield "", f"has schema version {document.get('schemaVersion')}, not {SCHEMA_VERSION}"
    declared: set[str] = set()
    for variable in document.get("templating", {}).get("list", []):
        for problem in (*_variable_problems(variable, declared), *conventions.variable_problems(variable)):
            yield f"${variable['name']}", problem
        declared.add(variable["name"])
    yield from conventions.datasource_problems(document)
    for annotation in document.get("annotations", {}).get("list", []):
        for problem in _expression_problems(annotation.get("expr", ""), declared):
            yield annotation["name"], problem
    yield from _grid_problems(document.get("panels", []))
    for panel in panels_of(document):
        title = panel.get("title") or f"panel {panel.get('id')}"
        for problem in (*_panel_problems(panel), *conventions.link_problems(panel)):
            yield title, problem
        for target in panel.get("targets", []):
            for problem in _query_problems(panel, target, declared):
                yield f"{title} [{target.get('refId')}]", problem


def _variable_problems(variable: Json, declared: set[str]) -> Iterator[str]:
    if variable["type"] != "query":
        return
    text = variable["query"]["query"]
    if (query := variable_query(text)) is None:
        yield f"is not label_values(selector, label): {text}"
        return
    yield from _undeclared(text, declared)
    reading = read(substitute(query.selector, dict.fromkeys(declared, ALL)))
    yield from reading.problems
    if not reading.problems and query.label not in reading.labels:
        yield f"asks for the label {query.label}, which {query.selector} does not have"


def _grid_problems(panels: list[Json]) -> Iterator[tuple[str, str]]:
    ids = [panel.get("id") for panel in panels]
    for panel in panels:
        title, grid = panel.get("title") or f"panel {panel.get('id')}", panel["gridPos"]
        if ids.count(panel.get("id")) > 1:
            yield title, f"shares the id {panel.get('id')}"
        if grid["x"] < 0 or grid["x"] + grid["w"] > COLUMNS:
            yield title, f"stands outside the grid's {COLUMNS} columns"
    for one, other in combinations(panels, 2):
        a, b = one["gridPos"], other["gridPos"]
        if all(a[at] < b[at] + b[size] and b[at] < a[at] + a[size] for at, size in (("x", "w"), ("y", "h"))):
            yield one.get("title", ""), f"overlaps {other.get('title')}"


def _panel_problems(panel: Json) -> Iterator[str]:
    if panel.get("type") not in PANEL_TYPES:
        yield f"is of type {panel.get('type')}; known are {', '.join(sorted(PANEL_TYPES))}"
    for key in ("title", "description"):
        if not panel.get(key):
            yield f"has no {key}"
    if not panel.get("targets"):
        yield "has no query"
    if panel.get("type") == "table":
        yield from _column_problems(panel)
        return
    if panel.get("type") == "nodeGraph":
        yield from _graph_problems(panel)
    if not panel.get("fieldConfig", {}).get("defaults", {}).get("unit"):
        yield "has no unit"


def _column_problems(table: Json) -> Iterator[str]:
    """Each value column needs a heading and a unit; the columns' order and headings name what the queries return."""
    renamed = _organized(table).get("renameByName", {})
    overridden = {
        override["matcher"]["options"]
        for override in table["fieldConfig"]["overrides"]
        if any(item["id"] == "unit" for item in override["properties"])
    }
    for target in table.get("targets", []):
        column = f"Value #{target['refId']}"
        if column not in renamed:
            yield f"gives {column} no heading"
        elif renamed[column] not in overridden:
            yield f"gives the column {renamed[column]} no unit"


def _graph_problems(graph: Json) -> Iterator[str]:
    """Grafana knows the two frames by their queries' names, and their figures by the columns' own name."""
    if {target["refId"] for target in graph.get("targets", [])} != set(_GRAPH_COLUMNS):
        yield f"needs the queries {' and '.join(sorted(_GRAPH_COLUMNS))}"
    made = {
        t["options"]["binary"]["left"]: t["options"]["alias"]
        for t in graph.get("transformations", [])
        if t["id"] == "calculateField"
    }
    for ref in _GRAPH_COLUMNS:
        if made.get(f"Value #{ref}") != "mainstat":
            yield f"makes no column mainstat of the values of {ref}"


def _organized(table: Json) -> Json:
    options: list[Json] = [t["options"] for t in table.get("transformations", []) if t["id"] == "organize"]
    return options[0] if options else {}


def _query_problems(panel: Json, target: Json, declared: set[str]) -> Iterator[str]:
    expression = target.get("expr", "")
    yield from _undeclared(expression, declared)
    yield from conventions.query_problems(expression)
    reading = read(substitute(expression, {**dict.fromkeys(declared, ALL), **BUILT_IN}))
    yield from reading.problems
    if reading.problems:
        return
    for label in _LEGEND_LABEL.findall(target.get("legendFormat") or ""):
        if label not in reading.labels:
            yield f"has {label} in its legend; the query returns {', '.join(sorted(reading.labels)) or 'no label'}"
    if panel.get("type") == "nodeGraph":
        for label in sorted(_GRAPH_COLUMNS.get(target["refId"], frozenset()) - reading.labels):
            yield f"lacks the label {label}"
    if panel.get("type") == "heatmap" and (reading.labels != {"le"} or target.get("format") != FORMAT):
        yield f"is not what a heat map reads: buckets by le alone, in the format {FORMAT}"
    if panel.get("type") == "table":
        headed = {name for name in _organized(panel).get("renameByName", {}) if not name.startswith("Value #")}
        if headed != reading.labels:
            yield f"has columns {', '.join(sorted(headed))}; the query returns {', '.join(sorted(reading.labels))}"


def _expression_problems(expression: str, declared: set[str]) -> Iterator[str]:
    yield from _undeclared(expression, declared)
    yield from read(substitute(expression, {**dict.fromkeys(declared, ALL), **BUILT_IN})).problems


def _undeclared(text: str, declared: set[str]) -> Iterator[str]:
    for name in sorted(variables(text) - declared - set(BUILT_IN)):
        yield f"uses ${name}, which the dashboard does not declare before it"
