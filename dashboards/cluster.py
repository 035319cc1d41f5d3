"""The dashboards and the alerts as objects of a cluster: what `kubectl apply -k dashboards/generated` takes.

A ConfigMap a dashboard, for Grafana's sidecar, and a PrometheusRule, for the Prometheus operator. The Helm chart has
templates of the same objects, over the same files; a test proves both equal.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import yaml

NAME: Final = "flowatlas"
KUSTOMIZATION: Final = "kustomization.yaml"
RULE: Final = "prometheusrule.yaml"
PART_OF: Final = {"app.kubernetes.io/part-of": NAME}

_HEADING: Final = "# Made by `flowatlas dashboards build` and `flowatlas rules build`; do not edit.\n"


def write(folder: Path) -> list[Path]:
    """Write both files beside the dashboards and the `alerts.yaml` of a folder, for what lies there."""
    names = sorted(path.name for path in folder.glob("*.json"))
    alerts = folder / "alerts.yaml"
    texts = {KUSTOMIZATION: kustomization(names, [RULE] if alerts.exists() else [])}
    if alerts.exists():
        texts[RULE] = prometheus_rule(alerts.read_text(encoding="utf-8"))
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def kustomization(dashboards: Iterable[str], resources: Iterable[str]) -> str:
    """The text of a kustomization of dashboards, by their files' names, and of files of objects."""
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": list(resources),
        "generatorOptions": {
            "disableNameSuffixHash": True,
            "labels": {**PART_OF, "grafana_dashboard": "1"},
            "annotations": {"grafana_folder": "Flowatlas"},
        },
        "configMapGenerator": [
            {"name": f"{NAME}-dashboard-{name.removesuffix('.json')}", "files": [f"{NAME}-{name}={name}"]}
            for name in dashboards
        ],
    }
    return _HEADING + yaml.safe_dump(document, sort_keys=False, width=1000)


def prometheus_rule(rules: str) -> str:
    """The text of a PrometheusRule that holds a file of rules."""
    head = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": NAME, "namespace": NAME, "labels": PART_OF},
    }
    lines = "".join(line for line in rules.splitlines(keepends=True) if not line.startswith("#"))
    return _HEADING + yaml.safe_dump(head, sort_keys=False) + "spec:\n" + textwrap.indent(lines, "  ")
