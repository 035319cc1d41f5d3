"""From what grafanalib 0.7 writes to what Grafana 11 to 13 read: the one place that knows the differences.

grafanalib is frozen at Grafana 8: it writes an old schema version, keys that mean nothing any more, and nulls for what
is not set. Here every object keeps only the keys named below, so a key that Grafana does not know cannot slip through.
A normalised dashboard is plain data, and equal programs give equal text.
"""

from __future__ import annotations

import json
from typing import Any, Final

from grafanalib._gen import DashboardEncoder
from grafanalib.core import Dashboard

from .variables import DATASOURCE

SCHEMA_VERSION: Final = 41
"""Of the classic dashboard model. Grafana 12 and 13 know it; 11 reads it as it is: nothing here is newer than 11."""

_DATASOURCE_REF: Final = {"type": "prometheus", "uid": f"${{{DATASOURCE}}}"}

_DASHBOARD: Final = (
    *("annotations", "description", "editable", "graphTooltip", "links", "panels", "refresh", "schemaVersion"),
    *("tags", "templating", "time", "timepicker", "timezone", "title", "uid"),
)
_ROW: Final = ("collapsed", "gridPos", "id", "panels", "title", "type")
_PANEL: Final = (
    *(
        "datasource",
        "description",
        "fieldConfig",
        "gridPos",
        "id",
        "maxDataPoints",
        "options",
        "targets",
        "title",
        "transformations",
    ),
    "type",
)
_TARGET: Final = ("datasource", "editorMode", "expr", "format", "instant", "legendFormat", "range", "refId")
_VARIABLE: Final = {
    "datasource": (
        "current",
        "hide",
        "includeAll",
        "label",
        "multi",
        "name",
        "options",
        "query",
        "refresh",
        "regex",
        "type",
    ),
    "query": (
        *("allValue", "current", "datasource", "hide", "includeAll", "label", "multi", "name", "options"),
        *("query", "refresh", "regex", "sort", "type"),
    ),
}

Json = dict[str, Any]


def normalize(dashboard: Dashboard) -> Json:
    """The dashboard as plain data, ready to be imported or provisioned."""
    data: Json = json.loads(json.dumps(dashboard.auto_panel_ids().to_json_data(), cls=DashboardEncoder))
    data["schemaVersion"] = SCHEMA_VERSION
    data["timepicker"] = {}
    for annotation in data["annotations"]["list"]:
        annotation["datasource"] = _DATASOURCE_REF
    data["panels"] = [_row(panel) if panel["type"] == "row" else _panel(panel) for panel in data["panels"]]
    data["templating"] = {"list": [_variable(variable) for variable in data["templating"]["list"]]}
    return _keep(data, _DASHBOARD)


def to_text(document: Json) -> str:
    """The document as it is committed: sorted keys, two spaces, a final newline."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _row(row: Json) -> Json:
    return _keep(row, _ROW)


def _panel(panel: Json) -> Json:
    panel["datasource"] = _DATASOURCE_REF
    panel["targets"] = [_target(target) for target in panel["targets"]]
    panel["fieldConfig"]["defaults"] = _defaults(panel["fieldConfig"]["defaults"])
    return _keep(panel, _PANEL)


def _target(target: Json) -> Json:
    target |= {"datasource": _DATASOURCE_REF, "editorMode": "code", "range": not target["instant"]}
    if target["format"] == "table":
        target["legendFormat"] = None
    return _keep(target, _TARGET)


def _defaults(defaults: Json) -> Json:
    """A panel's field defaults. The first threshold keeps its null: to Grafana it means "from minus infinity on"."""
    thresholds = defaults.pop("thresholds")
    custom = defaults.get("custom", {})
    if "displayMode" in custom:  # before Grafana 9 a string, since then an object
        custom["cellOptions"] = {"type": custom.pop("displayMode")}
    if custom.get("scaleDistribution", {}).get("type") == "linear":
        custom["scaleDistribution"] = {"type": "linear"}
    kept = {key: value for key, value in _prune(defaults).items() if value != ""}
    return kept | ({"thresholds": thresholds} if thresholds["steps"] else {})


def _variable(variable: Json) -> Json:
    variable |= {"current": {}, "regex": variable["regex"] or ""}
    if variable["type"] == "query":
        text = variable["query"]
        variable |= {
            "datasource": _DATASOURCE_REF,
            "query": {"query": text, "refId": f"Variable-{variable['name']}"},
        }
        if variable["includeAll"]:
            variable["current"] = {"text": ["All"], "value": ["$__all"]}
    return _keep(variable, _VARIABLE[variable["type"]])


def _keep(data: Json, keys: tuple[str, ...]) -> Json:
    return {key: _prune(data[key]) for key in keys if data.get(key) is not None}


def _prune(data: Any) -> Any:
    """The data without nulls, save those in threshold steps."""
    if isinstance(data, dict):
        return {key: v if key == "steps" else _prune(v) for key, v in data.items() if v is not None}
    return [_prune(item) for item in data] if isinstance(data, list) else data
