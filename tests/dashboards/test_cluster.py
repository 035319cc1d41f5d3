"""The dashboards and alerts as objects of a cluster."""

from __future__ import annotations

from pathlib import Path

import yaml

from dashboards import cluster
from dashboards.build import GENERATED


def test_the_committed_objects_are_what_is_built(tmp_path: Path) -> None:
    for path in (*GENERATED.glob("*.json"), GENERATED / "alerts.yaml"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for path in cluster.write(tmp_path):
        assert path.read_text() == (GENERATED / path.name).read_text(), "flowatlas dashboards build"


def test_the_rule_holds_the_rules_as_they_are() -> None:
    rule = yaml.safe_load((GENERATED / cluster.RULE).read_text())
    assert rule["kind"] == "PrometheusRule"
    assert rule["spec"] == yaml.safe_load((GENERATED / "alerts.yaml").read_text())


def test_every_dashboard_is_a_config_map_of_the_sidecar() -> None:
    document = yaml.safe_load(cluster.kustomization(["a.json", "b.json"], []))
    assert document["generatorOptions"]["labels"]["grafana_dashboard"] == "1"
    assert [entry["files"] for entry in document["configMapGenerator"]] == [
        ["flowatlas-a.json=a.json"],
        ["flowatlas-b.json=b.json"],
    ]


def test_a_folder_without_alerts_has_dashboards_alone(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    (path,) = cluster.write(tmp_path)
    assert yaml.safe_load(path.read_text())["resources"] == []
