"""The linter finds each kind of mistake; every test breaks a dashboard that is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dashboards.build import documents
from dashboards.lint import lint, panels_of

Json = dict[str, Any]


def panel_of(document: Json, kind: str) -> Json:
    return next(panel for panel in panels_of(document) if panel["type"] == kind)


def set_query(expression: str) -> Callable[[Json], None]:
    def change(document: Json) -> None:
        panel_of(document, "timeseries")["targets"][0]["expr"] = expression

    return change


def set_variable(query: str) -> Callable[[Json], None]:
    def change(document: Json) -> None:
        document["templating"]["list"][1]["query"]["query"] = query

    return change


def edit(kind: str, key: str, value: object) -> Callable[[Json], None]:
    def change(document: Json) -> None:
        panel_of(document, kind)[key] = value

    return change


def link_of(panel: Json) -> Json:
    found: Json = panel["fieldConfig"]["overrides"][0]["properties"][0]["value"][0]
    return found


MISTAKES: list[tuple[str, Callable[[Json], Any]]] = [
    ("has no uid", lambda d: d.pop("uid")),
    ("has schema version 12", lambda d: d.update(schemaVersion=12)),
    ("has no title", edit("stat", "title", "")),
    ("has no description", edit("stat", "description", "")),
    ("has no query", edit("stat", "targets", [])),
    ("has no unit", lambda d: panel_of(d, "timeseries")["fieldConfig"]["defaults"].pop("unit")),
    ("is of type graph", edit("stat", "type", "graph")),
    ("shares the id 2", lambda d: d["panels"][0].update(id=2)),
    ("stands outside", lambda d: d["panels"][0]["gridPos"].update(x=22)),
    ("overlaps", lambda d: d["panels"][0]["gridPos"].update(w=5)),
    ("no metric up in the catalogue", set_query("sum(rate(up[$__rate_interval]))")),
    ("does not parse", set_query("sum(rate(")),
    ("in its legend", set_query("sum(rate(flowatlas_connections_total[$__rate_interval]))")),
    ("uses $pod", set_query('sum(flowatlas_connections_total{service=~"$pod"})')),
    ("is not label_values", set_variable("query_result(up)")),
    ("asks for the label pod", set_variable("label_values(flowatlas_connections_total, pod)")),
    ("no metric up in the catalogue", set_variable("label_values(up, job)")),
    ("uses $service", set_variable('label_values(flowatlas_connections_total{service=~"$service"}, service)')),
    ("no heading", lambda d: panel_of(d, "table")["transformations"].pop()),
    ("no unit", lambda d: panel_of(d, "table")["fieldConfig"]["overrides"].pop(0)),
    (
        "has columns",
        lambda d: panel_of(d, "table")["transformations"][1]["options"]["renameByName"].update(pod="Pod"),
    ),
]


MISTAKES += [  # those of dashboards.conventions
    ("has no drop-down for the data source", lambda d: d["templating"]["list"].pop(0)),
    ("asks the data source P1809F", edit("stat", "datasource", {"type": "prometheus", "uid": "P1809F"})),
    ("asks the data source (default)", lambda d: panel_of(d, "table")["targets"][0].pop("datasource")),
    ("asks the data source ${other}", lambda d: d["annotations"]["list"][0].update(datasource="${other}")),
    ("not asked again", lambda d: d["templating"]["list"][1].update(refresh=1)),
    ("cannot stand for all", lambda d: d["templating"]["list"][1].update(multi=False)),
    ("takes rate over [5m]", set_query("sum(rate(flowatlas_connections_total[5m]))")),
    ("takes increase over [1h]", set_query('sum(increase(flowatlas_connections_total{service=~"[a-z]}"}[1h]))')),
    ("shows the counter flowatlas_connections_total", set_query("sum(flowatlas_connections_total)")),
    ("shows the counter flowatlas_dns_latency_seconds_count", set_query("sum(flowatlas_dns_latency_seconds_count)")),
    ("no metric up in the catalogue", lambda d: d["annotations"]["list"][0].update(expr="changes(up[2m]) > 0")),
    ("without ${__url_time_range}", lambda d: link_of(panel_of(d, "nodeGraph")).update(url="/d/flowatlas-dns?x=1")),
]
MISTAKES += [  # those of a map
    ("needs the queries edges and nodes", lambda d: panel_of(d, "nodeGraph")["targets"].pop()),
    ("makes no column mainstat of the values of nodes", lambda d: panel_of(d, "nodeGraph")["transformations"].pop(0)),
    (
        "lacks the label target",
        lambda d: panel_of(d, "nodeGraph")["targets"][1].update(
            expr="sum by (source_workload) (rate(flowatlas_connections_total[$__rate_interval]))"
        ),
    ),
]


@pytest.mark.parametrize(("problem", "break_it"), MISTAKES)
def test_a_mistake_is_found(problem: str, break_it: Callable[[Json], Any]) -> None:
    document = documents()["overview"]
    break_it(document)
    assert any(problem in str(finding) for finding in lint("overview", document)), lint("overview", document)


def test_panels_in_collapsed_rows_are_judged_too() -> None:
    document = documents()["overview"]
    panels = document["panels"]
    hidden = panels.pop(1)
    hidden["description"] = ""
    row = next(panel for panel in panels if panel["type"] == "row")
    row["panels"] = [hidden]
    assert [str(finding) for finding in lint("overview", document)] == ["overview: New connections: has no description"]


@pytest.mark.parametrize(
    "target",
    [
        {"format": "time_series"},
        {
            "expr": "sum by (le, service) (rate(flowatlas_tcp_rtt_seconds_bucket[$__rate_interval]))",
            "legendFormat": "{{le}}",
        },
    ],
)
def test_a_heat_map_that_grafana_would_misread_is_found(target: dict[str, str]) -> None:
    document = documents()["tcp"]
    panel_of(document, "heatmap")["targets"][0].update(target)
    assert ["is not what a heat map reads" in finding.problem for finding in lint("tcp", document)] == [True]
