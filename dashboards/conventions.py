"""What people expect of any dashboard: the rules of Grafana's dashboard-linter, restated where they fit.

Its rules on titles, units, targets and valid PromQL are in `dashboards.lint` beside ours. Left out are its matchers for
job and instance, since one pipeline tells of a cluster and sums over several are what a panel should show, and its wish
that dashboards cannot be edited. A rule here judges JSON alone and never raises for what a query holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from pipeline.catalog import BY_NAME

from .queries import RATE_WINDOW, SHOWN_WINDOW

ON_TIME_RANGE: Final = 2
"""Grafana's number for a drop-down that is asked again when another time is chosen."""
COUNTERS: Final = frozenset(
    name for metric in BY_NAME.values() if metric.kind in ("counter", "histogram") for name in metric.series
)
"""Series that only grow, whose value means nothing without `rate` or `increase`."""
CARRIED: Final = ("${__url_time_range}", "var-datasource=${datasource}")
"""What a link to a sibling takes along, so that it shows the same time of the same server."""

_WINDOWS: Final = {
    "rate": (RATE_WINDOW,),
    "irate": (RATE_WINDOW,),
    "increase": (RATE_WINDOW, SHOWN_WINDOW),
}
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_RANGE: Final = re.compile(r"(\w+)\s*\(\s*[\w:]+\s*(?:\{[^}]*\})?\s*\[([^\]]*)\]")
_SELECTOR: Final = re.compile(
    r"(?P<before>0 \* sum \(|0 \* sum\()?\b(?P<name>[a-z]\w+)\s*(?:\{[^}]*\})?\s*(?P<range>\[)?"
)

Json = dict[str, Any]


def datasource_problems(document: Json) -> Iterator[tuple[str, str]]:
    """The data source is chosen by a drop-down, and everything asks the one that was chosen."""
    chosen = {v["name"] for v in document.get("templating", {}).get("list", []) if v["type"] == "datasource"}
    if not chosen:
        yield "", "has no drop-down for the data source"
    for place, owner in _askers(document):
        reference = owner.get("datasource")
        uid = str(reference.get("uid", "")) if isinstance(reference, dict) else str(reference or "")
        if uid.strip("${}") not in chosen or not uid.startswith("$"):
            yield place, f"asks the data source {uid or '(default)'}, not the one that is chosen"


def variable_problems(variable: Json) -> Iterator[str]:
    """A drop-down of labels follows the time shown, and begins with everything."""
    if variable["type"] != "query":
        return
    if variable.get("refresh") != ON_TIME_RANGE:
        yield "is not asked again when another time range is chosen"
    if not (variable.get("includeAll") and variable.get("multi") and variable.get("allValue")):
        yield "cannot stand for all values or several"


def query_problems(expression: str) -> Iterator[str]:
    """Counters are read through `rate` over `$__rate_interval` or `increase` over that or the time shown."""
    bare = _STRING.sub('""', expression)
    for function, window in _RANGE.findall(bare):
        allowed = _WINDOWS.get(function)
        if allowed and window not in allowed:
            yield f"takes {function} over [{window}], not [{'] or ['.join(allowed)}]"
    for match in _SELECTOR.finditer(bare):
        if match["name"] in COUNTERS and not match["range"] and not match["before"]:
            yield f"shows the counter {match['name']} as it stands, not its growth"


def link_problems(panel: Json) -> Iterator[str]:
    """A link from a cell to a sibling shows the same time of the same server."""
    for override in panel.get("fieldConfig", {}).get("overrides", []):
        for item in override.get("properties", []):
            for link in item["value"] if item["id"] == "links" else ():
                lost = [part for part in CARRIED if part not in link["url"]]
                if link["url"].startswith("/d/") and lost:
                    yield f"links to {link['url']} without {' and '.join(lost)}"


def _askers(document: Json) -> Iterator[tuple[str, Json]]:
    for variable in document.get("templating", {}).get("list", []):
        if variable["type"] == "query":
            yield f"${variable['name']}", variable
    for annotation in document.get("annotations", {}).get("list", []):
        yield annotation.get("name", "annotation"), annotation
    for panel in document.get("panels", []):
        for shown in panel.get("panels", []) if panel.get("type") == "row" else [panel]:
            title = shown.get("title") or f"panel {shown.get('id')}"
            yield title, shown
            for target in shown.get("targets", []):
                yield f"{title} [{target.get('refId')}]", target
