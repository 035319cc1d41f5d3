"""The committed dashboards: fresh, without findings, and understood by Grafana's own model of a dashboard."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units

from dashboards.advice import SAID
from dashboards.build import GENERATED, build, documents
from dashboards.check import check
from dashboards.lint import panels_of
from dashboards.normalize import to_text
from dashboards.promql import BUILT_IN, read, substitute
from pipeline.catalog import METRICS

DOCUMENTS = documents()
NAMES = sorted(DOCUMENTS)
SINCE_11 = ".options.tooltip.mode"
"""Of heat maps: Grafana's model here is of 10.1, which had `show` in its place."""


def test_committed_files_are_what_the_programs_build(tmp_path: Path) -> None:
    """`flowatlas dashboards build` would change nothing; no file is left over from a dashboard that is gone."""
    built = {path.name: path.read_text() for path in build(tmp_path)}
    assert {path.name: path.read_text() for path in GENERATED.glob("*.json")} == built


def test_building_twice_gives_equal_text() -> None:
    assert [to_text(d) for d in documents().values()] == [to_text(d) for d in documents().values()]


def test_nothing_is_wrong_with_them() -> None:
    assert check() == []


def test_every_metric_is_on_a_panel() -> None:
    """A metric that nobody sees is not needed, or lacks a panel."""
    owner = {series: metric.name for metric in METRICS for series in metric.series}
    shown = set()
    for document in DOCUMENTS.values():
        values = {variable["name"]: ".*" for variable in document["templating"]["list"]} | BUILT_IN
        for panel in panels_of(document):
            for target in panel["targets"]:
                shown |= {owner[series] for series in read(substitute(target["expr"], values)).metrics}
    assert sorted(set(owner.values()) - shown) == []


def test_a_panel_that_can_turn_red_says_what_to_do() -> None:
    """At night nobody wants to guess: a page of the runbooks, or where to look next."""
    silent = [
        f"{name}: {panel['title']}"
        for name, document in DOCUMENTS.items()
        for panel in panels_of(document)
        if len(panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", ())) > 1
        and SAID not in panel["description"]
    ]
    assert silent == []


def test_what_is_asked_over_time_says_at_how_many_points() -> None:
    """Else Grafana asks for one a pixel, and the server computes each."""
    over_time = [panel for document in DOCUMENTS.values() for panel in panels_of(document) if has_time(panel)]
    assert over_time
    assert [panel["title"] for panel in over_time if not 0 < panel.get("maxDataPoints", 0) <= 240] == []


def has_time(panel: dict[str, Any]) -> bool:
    return not all(target["instant"] for target in panel["targets"])


@pytest.mark.parametrize("name", NAMES)
def test_every_unit_is_one_of_grafanas(name: str) -> None:
    known = {value for value in vars(units).values() if isinstance(value, str)}
    used = set()
    for panel in panels_of(DOCUMENTS[name]):
        used |= {panel["fieldConfig"]["defaults"].get("unit", "none")}
        used |= {
            item["value"]
            for override in panel["fieldConfig"]["overrides"]
            for item in override["properties"]
            if item["id"] == "unit"
        }
    assert used - known == set()


@pytest.mark.parametrize("name", NAMES)
def test_grafanas_model_knows_every_key(name: str) -> None:
    """What Grafana's own types read and write again holds every key that we wrote, with the value that we gave it."""
    register_default_plugins()
    document = DOCUMENTS[name]
    again = JSONEncoder(sort_keys=True).encode(model.Dashboard.from_json(document))
    newer = {f".panels[{i}]{SINCE_11}" for i, panel in enumerate(document["panels"]) if panel["type"] == "heatmap"}
    assert set(lost(document, json.loads(again), "")) - newer == set()


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_dashboards_that_are_there_and_set_drop_downs_that_they_have(name: str) -> None:
    """Grafana opens a link to nothing without a word, and ignores a variable that the dashboard does not declare."""
    declared = {d["uid"]: {v["name"] for v in d["templating"]["list"]} for d in DOCUMENTS.values()}
    addresses = [
        link["url"]
        for panel in panels_of(DOCUMENTS[name])
        for override in panel["fieldConfig"]["overrides"]
        for item in override["properties"]
        if item["id"] == "links"
        for link in item["value"]
    ]
    assert addresses
    for address in addresses:
        uid, _, query = address.removeprefix("/d/").partition("?")
        assert "${__url_time_range}" in query
        assert set(re.findall(r"var-(\w+)=", query)) - declared[uid] == set(), address


def lost(ours: Any, theirs: Any, where: str) -> list[str]:
    """The places where `theirs` lacks what `ours` says; a null of ours may be left out."""
    if isinstance(ours, dict):
        if not isinstance(theirs, dict):
            return [where]
        return [
            place
            for key, value in ours.items()
            if value is not None
            for place in (lost(value, theirs[key], f"{where}.{key}") if key in theirs else [f"{where}.{key}"])
        ]
    if isinstance(ours, list):
        if not isinstance(theirs, list) or len(ours) != len(theirs):
            return [where]
        return [
            place for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) for place in lost(a, b, f"{where}[{i}]")
        ]
    return [] if ours == theirs else [where]
