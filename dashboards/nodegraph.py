"""A map of who talks to whom: Grafana's node graph, fed by two instant queries.

Grafana tells nodes from edges by the names of their columns (id, title, subtitle; id, source, target) and reads the
figure beside them from a column `mainstat`. A rename does not count there, only a column's own name does, so columns
are made by `label_join` in the query and by a calculation that multiplies by 1. The invariant: each edge ends at nodes
that are there, or Grafana draws nothing at all; nodes are therefore made from the very expression of the edges.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from grafanalib.core import Panel, Target

from .queries import Filter, named, rate, top

NODES: Final = "nodes"
EDGES: Final = "edges"
"""The queries' letters are words here: Grafana takes frames of these names for a graph's."""
MOST: Final = 100
"""Edges shown; a person reads fewer."""
FAILING: Final = 0.05
"""From which share of failed connections on an edge is red."""

_FIGURE: Final = "mainstat"
_UNIT: Final = "KBs"  # Grafana writes the plain number beside an edge, so it should be a short one
_RED: Final = "#e02f44"
_GREY: Final = "#8e8e8e"
_ENDS: Final = ("source", "destination")


@dataclass(frozen=True, slots=True)
class Grain:
    """What a node stands for: the labels, without `source_` or `destination_`, that make it; the last is its title.

    The metrics are those with the fewest series that have them.
    """

    labels: tuple[str, ...]
    bytes: str
    connections: str
    failures: str


NAMESPACES: Final = Grain(
    ("namespace",),
    "flowatlas_namespace_bytes_total",
    "flowatlas_namespace_connections_total",
    "flowatlas_namespace_connection_failures_total",
)
WORKLOADS: Final = Grain(
    ("namespace", "workload"),
    "flowatlas_flow_bytes_total",
    "flowatlas_connections_total",
    "flowatlas_connection_failures_total",
)


class NodeGraph(Panel):  # type: ignore[misc]  # grafanalib has no types
    """Grafana's panel; grafanalib has none of the kind."""

    def to_json_data(self) -> dict[str, Any]:
        """As grafanalib's own panels have it."""
        graph: dict[str, Any] = self.panel_json({"type": "nodeGraph"})
        return graph


def graph(title: str, description: str, grain: Grain, where: Iterable[Filter], link: str) -> Panel:
    """The map of what talked lately, `link` being where a node's title leads.

    Edges go from who opened to who answered, with the kilobytes a second of both directions; red ones fail.
    """
    filters = tuple(where)
    leads = {"title": "Show ${__value.text}", "url": link, "targetBlank": False}
    return NodeGraph(
        title=title,
        description=description,
        maxDataPoints=None,
        targets=[
            Target(expr=expression, format="table", instant=True, refId=ref)
            for ref, expression in ((NODES, nodes(grain, filters)), (EDGES, edges(grain, filters)))
        ],
        transformations=[_figure(ref) for ref in (NODES, EDGES)],
        extraJson={
            "options": {"nodes": {"mainStatUnit": _UNIT}, "edges": {"mainStatUnit": _UNIT}},
            "fieldConfig": {
                "defaults": {"unit": _UNIT},
                "overrides": [
                    {"matcher": {"id": "byName", "options": "title"}, "properties": [{"id": "links", "value": [leads]}]}
                ],
            },
        },
    )


def nodes(grain: Grain, where: Iterable[Filter]) -> str:
    """Kilobytes a second of each end of the edges, by id, title and, where its name has two parts, subtitle."""
    between = _pairs(grain, tuple(where))
    columns = ("id", "title", "subtitle") if len(grain.labels) > 1 else ("id", "title")
    ends = []
    for end in _ENDS:
        labels = _labels(end, grain)
        end_of = f"sum by ({', '.join(labels)}) ({between})"
        for name, parts in zip(columns, (labels, labels[-1:], labels[:-1]), strict=False):
            end_of = f'label_join({end_of}, "{name}", "/", {_quoted(parts)})'
        ends.append(end_of)
    return f"sum by ({', '.join(columns)}) ({' or '.join(ends)})"


def edges(grain: Grain, where: Iterable[Filter]) -> str:
    """Kilobytes a second between two nodes, by id, source, target and colour."""
    filters = tuple(where)
    by = _both(grain)
    failing = (
        f"{rate(grain.failures, by=by, where=filters)} / {rate(grain.connections, by=by, where=filters)} > {FAILING}"
    )
    between = _pairs(grain, filters)
    on = f"on ({', '.join(by)})"
    red = f'label_replace({between} and {on} {_named(grain, failing)}, "color", "{_RED}", "", "")'
    coloured = f'{red} or {on} label_replace({between}, "color", "{_GREY}", "", "")'
    for name, end in (("source", "source"), ("target", "destination")):
        coloured = f'label_join({coloured}, "{name}", "/", {_quoted(_labels(end, grain))})'
    joined = f'label_join({coloured}, "id", " > ", "source", "target")'
    return f"sum by (id, source, target, color) ({joined})"


def _pairs(grain: Grain, where: tuple[Filter, ...]) -> str:
    """The largest pairs of nodes, in kilobytes a second, with a name where the label is empty."""
    between = f"{rate(grain.bytes, by=_both(grain), where=where)} / 1000 > 0"
    return top(MOST, _named(grain, between))


def _named(grain: Grain, expression: str) -> str:
    if grain is not NAMESPACES:  # what has no namespace still has a workload to name it
        return f"({expression})"
    for label in _both(grain):
        expression = named(label, expression, empty="no namespace")
    return expression


def _both(grain: Grain) -> tuple[str, ...]:
    return tuple(label for end in _ENDS for label in _labels(end, grain))


def _labels(end: str, grain: Grain) -> tuple[str, ...]:
    return tuple(f"{end}_{label}" for label in grain.labels)


def _quoted(labels: tuple[str, ...]) -> str:
    return ", ".join(f'"{label}"' for label in labels)


def _figure(ref: str) -> dict[str, Any]:
    """A column `mainstat` with the query's values; its operands are words, which Grafana 11 and later ones read."""
    binary = {"left": f"Value #{ref}", "operator": "*", "right": "1"}
    return {
        "id": "calculateField",
        "options": {"mode": "binary", "alias": _FIGURE, "binary": binary, "replaceFields": False, "timeSeries": False},
    }
