"""Prometheus' own `promtool` over the committed rule files and series that a test writes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dashboards.alerts import ALERTS
from dashboards.rules import RULES

BY_ALERT = {alert.name: alert for alert in ALERTS}

PAIR = (
    'source_namespace="shop",source_workload="web",source_workload_kind="Deployment",'
    'destination_namespace="data",destination_workload="db",destination_workload_kind="StatefulSet"'
)
PAIR_LABELS = {
    "source_namespace": "shop",
    "source_workload": "web",
    "destination_namespace": "data",
    "destination_workload": "db",
}
SERVICE = 'service_namespace="shop",service="cart",service_port="http"'
SERVICE_LABELS = {"service_namespace": "shop", "service": "cart", "service_port": "http"}
ONE = 'instance="a:1"'
_WITH = re.compile(r"\{\{ with \$labels\.(\w+) \}\}(.*?)(?:\{\{ else \}\}(.*?))?\{\{ end \}\}")


@dataclass(frozen=True, slots=True)
class Case:
    """Series, a sample a step from minute 0 on, and the number of alerts that fire at `minute`.

    `value` is how the alert's text tells its value, where it does.
    """

    alert: str
    about: str
    series: Mapping[str, str]
    minute: int
    firing: int
    value: str = ""
    step: str = "1m"

    def __str__(self) -> str:
        return f"{self.alert}: {self.about}"


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def told(case: Case, labels: Mapping[str, str], folder: Path) -> str:
    """What promtool has to complain of; alerts are compared with all labels and annotations, so one that renders a
    label as nothing is told too."""
    test = {
        "eval_time": f"{case.minute}m",
        "alertname": case.alert,
        "exp_alerts": [_expected(case, labels)] * case.firing,
    }
    return complaint(folder, case.series, case.step, _of_alert(case.alert, folder), alert_rule_test=[test])


def complaint(folder: Path, series: Mapping[str, str], step: str, rules: Path = RULES, **tests: Sequence[Any]) -> str:
    """What promtool says of a rule file over series, empty where all tests pass."""
    input_series = [{"series": name, "values": values} for name, values in series.items()]
    document = {
        "rule_files": [str(rules)],
        "evaluation_interval": step,
        "group_eval_order": _recordings_first(rules),
        "tests": [{"interval": step, "input_series": input_series, **tests}],
    }
    (folder / "test.yaml").write_text(yaml.safe_dump(document))
    done = run("test", "rules", "test.yaml", cwd=folder)
    return done.stdout + done.stderr if done.returncode else ""


def _of_alert(alert: str, folder: Path) -> Path:
    """The committed rules, but for other alerts and what they alone look at, which are most of the work."""
    groups = _groups(RULES.read_text())
    rules = [rule for group in groups for rule in group["rules"]]
    asked = " ".join(rule["expr"] for rule in rules if rule.get("alert") == alert)
    recorded = [rule for rule in rules if "record" in rule]
    for rule in reversed(recorded):  # it may look at those before it
        asked += f" {rule['expr']}" if rule["record"] in asked else ""

    def is_needed(rule: Mapping[str, str]) -> bool:
        return rule.get("alert") == alert or ("record" in rule and rule["record"] in asked)

    found = [{**group, "rules": [*filter(is_needed, group["rules"])]} for group in groups]
    kept = [group for group in found if group["rules"]]
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": kept}, sort_keys=False))
    return path


def _recordings_first(rules: Path) -> list[str]:
    """The file's groups; promtool would take them in any order, and alerts look at what is recorded."""
    groups = _groups(rules.read_text())
    return [group["name"] for group in sorted(groups, key=lambda group: "record" not in group["rules"][0])]


def _groups(text: str) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = yaml.load(text, Loader=yaml.CSafeLoader)["groups"]
    return groups


def _expected(case: Case, labels: Mapping[str, str]) -> dict[str, Any]:
    alert = BY_ALERT[case.alert]
    return {
        "exp_labels": {"severity": alert.severity, **labels},
        "exp_annotations": {
            "summary": _rendered(alert.summary, labels, case.value),
            "description": _rendered(alert.description, labels, case.value),
            "runbook_url": alert.runbook,
        },
    }


def _rendered(text: str, labels: Mapping[str, str], value: str) -> str:
    """An annotation as Prometheus would render it."""
    text = re.sub(r"\{\{ \$value \| [^}]+ \}\}", value, text)
    text = _WITH.sub(lambda m: m[2].replace("{{ . }}", labels[m[1]]) if labels.get(m[1]) else m[3] or "", text)
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: labels[match[1]], text)
