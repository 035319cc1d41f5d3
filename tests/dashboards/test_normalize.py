"""What grafanalib writes and today's Grafana does not read is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from dashboards.build import documents
from dashboards.lint import panels_of

DOCUMENTS = documents()


def places_of_nulls(data: Any, where: str = "") -> Iterator[str]:
    if data is None:
        yield where
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from places_of_nulls(value, f"{where}.{key}")
    elif isinstance(data, list):
        for i, value in enumerate(data):
            yield from places_of_nulls(value, f"{where}[{i}]")


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_the_only_nulls_are_first_thresholds(name: str) -> None:
    nulls = list(places_of_nulls(DOCUMENTS[name]))
    assert nulls
    assert all(place.endswith(".thresholds.steps[0].value") for place in nulls)


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
@pytest.mark.parametrize("key", ["rows", "sharedCrosshair", "intervalFactor", "span"])
def test_dead_keys_are_gone(name: str, key: str) -> None:
    assert f'"{key}"' not in json.dumps(DOCUMENTS[name])


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_every_panel_query_and_variable_asks_the_chosen_datasource(name: str) -> None:
    document = DOCUMENTS[name]
    asked = [panel["datasource"] for panel in panels_of(document)]
    asked += [target["datasource"] for panel in panels_of(document) for target in panel["targets"]]
    asked += [v["datasource"] for v in document["templating"]["list"] if v["type"] == "query"]
    assert all(reference == {"type": "prometheus", "uid": "${datasource}"} for reference in asked)
    assert document["templating"]["list"][0]["name"] == "datasource"


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_thresholds_begin_without_a_bound_and_rise(name: str) -> None:
    for panel in panels_of(DOCUMENTS[name]):
        thresholds = panel["fieldConfig"]["defaults"].get("thresholds")
        if thresholds:
            first, *rest = [step["value"] for step in thresholds["steps"]]
            assert first is None
            assert rest == sorted(rest)
