"""Are the dashboards right, and do their panels show something? What `flowatlas dashboards check` prints."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from .asking import Asking, asking
from .build import GENERATED
from .lint import Finding, lint, panels_of, variable_query
from .prometheus import Prometheus, PrometheusError
from .promql import read

_SHOWN_S: Final = 900.0
"""The time range that panels are asked for."""
_POINTS: Final = 60

NO_DATA: Final = "returns no data"
HOOKED: Final = {
    "tcp_health": ("flowatlas_tcp_",),
    "drops": ("flowatlas_drops_", "flowatlas_dropped_"),
}
"""How metrics begin that only a kernel with these hooks in it tells of: where every collector's kernel refuses them, a
panel of such a metric is rightly empty."""

OPTIONAL: Final = {
    "flowatlas_traffic_cost_total": "the pipeline has no price table (setting pipeline.prices)",
    "flowatlas_external_bytes_total": "the pipeline has no geo database (setting pipeline.geo)",
    "flowatlas_pipeline_snapshot_bytes": "the pipeline takes no snapshots (setting pipeline.snapshot)",
    "flowatlas_pipeline_snapshot_timestamp_seconds": "the pipeline takes no snapshots (setting pipeline.snapshot)",
    "flowatlas_pipeline_snapshot_write_seconds": "the pipeline takes no snapshots (setting pipeline.snapshot)",
    "flowatlas_state_age_seconds": "the cluster's state is manifests, which have no age",
    "flowatlas_watcher_current": "no watcher is scraped",
    "flowatlas_watcher_last_mark_timestamp_seconds": "no watcher is scraped",
    "container_network_tcp_usage_total": "collectors do not count pods' sockets, or no pod has any of IPv4",
    "container_network_tcp6_usage_total": "collectors do not count pods' sockets, or no pod has any of IPv6",
}
"""Metrics that are rightly nowhere, each with the reason: where the server has none of one, its panels may be empty.
Where it has some, an empty panel is a finding as ever."""


def check(folder: Path | None = None, prometheus: str | None = None) -> list[Finding]:
    """Everything wrong with the dashboards in `folder` (default: those that Flowatlas brings); empty when all is well.

    With the address of a Prometheus server, each drop-down and each panel's query is also asked there, as Grafana would
    ask it with All chosen and the last quarter of an hour shown, and an error or an empty answer is a finding.
    """
    where = GENERATED if folder is None else folder
    documents, findings = _read(where)
    if not documents and not findings:
        return [Finding(str(where), "", "holds no dashboard (*.json)")]
    for name, document in documents.items():
        wrong = lint(name, document)
        findings += wrong
    if prometheus is not None and not findings:  # what does not parse need not be asked
        findings += _ask(documents, prometheus)
    return findings


def _read(folder: Path) -> tuple[dict[str, Any], list[Finding]]:
    documents, findings = {}, []
    for path in sorted(folder.glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            findings.append(Finding(path.stem, "", f"cannot be read: {error}"))
            continue
        if isinstance(document, dict) and isinstance(document.get("panels"), list):
            documents[path.stem] = document
        else:
            findings.append(Finding(path.stem, "", "is no dashboard: it has no list of panels"))
    return documents, findings


def _ask(documents: Mapping[str, Any], url: str) -> list[Finding]:
    now_s = time.time()  # one instant for all: what has happened just before is not over by the last dashboard
    try:
        server = Prometheus(url)
        interval_s = server.scrape_interval_s()
        untold = (*_untold(server, now_s), *_absent(server))
    except PrometheusError as error:
        return [Finding("Prometheus", "", str(error))]
    return [
        Finding(name, place, problem)
        for name, document in documents.items()
        for place, problem in _empty(
            document, asking(document, server, interval_s, now_s, shown_s=_SHOWN_S, points=_POINTS), untold
        )
    ]


def _untold(server: Prometheus, now_s: float) -> tuple[str, ...]:
    """How the metrics begin that no collector can tell of."""
    refused = server.instant("max by (hook) (flowatlas_collector_hook_info) == 0", now_s)
    return tuple(start for series in refused for start in HOOKED.get(series["metric"].get("hook", ""), ()))


def _absent(server: Prometheus) -> tuple[str, ...]:
    """The optional metrics that the server has none of."""
    there = server.label_values("__name__", f'{{__name__=~"{"|".join(OPTIONAL)}"}}')
    return tuple(name for name in OPTIONAL if name not in there)


def _empty(document: Any, asks: Asking, untold: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for variable in document["templating"]["list"]:
        query = variable_query(variable["query"]["query"]) if variable["type"] == "query" else None
        if query is not None:
            found = _answer(lambda q=query: asks.server.label_values(q.label, asks.expression(q.selector)))
            if found:
                yield f"${variable['name']}", found
    for annotation in document.get("annotations", {}).get("list", []):
        # nothing may have happened, but it must be asked
        expression = asks.expression(annotation["expr"])
        found = _answer(lambda e=expression: asks.over_time(e) or True)
        if found:
            yield annotation["name"], found
    for panel in panels_of(document):
        for target in panel["targets"]:
            found = _answer(lambda t=target: asks.answer(t))
            named = read(asks.expression(target["expr"])).metrics if found == NO_DATA else ()
            if found and not any(name.startswith(untold) for name in named):
                yield f"{panel['title']} [{target['refId']}]", found


def _answer(ask: Any) -> str:
    """What is wrong with the answer; empty where it holds something."""
    try:
        return "" if ask() else NO_DATA
    except PrometheusError as error:
        return f"is refused: {error}"
