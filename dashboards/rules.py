"""The alerts as a file of Prometheus rules, and what is wrong with such a file.

An alert must parse, name metrics and labels of the catalogue, and say in its annotations only labels that its result
has: Prometheus renders one that is missing as nothing, without a word.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

from .alerts import ALERTS, Alert
from .build import GENERATED
from .lint import Finding
from .promql import read

RULES: Final = GENERATED / "alerts.yaml"
"""The committed file; a test proves it equal to what is built here."""

ANNOTATIONS: Final = ("summary", "description", "runbook_url")
TARGET_LABELS: Final = frozenset({"instance", "job"})
"""Labels that Prometheus adds to every series that it scrapes."""

_HEADING: Final = "# Made from dashboards/alerts.py by `make docs`; do not edit.\n"
_LABEL: Final = re.compile(r"\$labels\.(\w+)")
_WIDE: Final = 10_000  # no line is broken within a value

Json = dict[str, Any]


def to_text() -> str:
    """The rule file's text: equal alerts give equal text."""
    groups: dict[str, list[Json]] = {}
    for alert in ALERTS:
        groups.setdefault(alert.group, []).append(_rule(alert))
    document = {"groups": [{"name": name, "rules": rules} for name, rules in groups.items()]}
    return _HEADING + yaml.safe_dump(document, sort_keys=False, width=_WIDE)


def build(path: Path = RULES) -> Path:
    """Write the rule file; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_text(), encoding="utf-8")
    return path


def check(path: Path = RULES) -> list[Finding]:
    """Everything wrong with the rule file at `path`; empty when all is well."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        rules = [rule for group in document["groups"] for rule in group["rules"]]
        named = [(str(rule["alert"]), rule) for rule in rules]
    except (OSError, ValueError, yaml.YAMLError) as error:
        return [Finding(path.stem, "", f"cannot be read: {error}")]
    except (KeyError, TypeError):
        return [Finding(path.stem, "", "is no file of alerts: it has no groups of rules that each name an alert")]
    if not named:
        return [Finding(path.stem, "", "holds no alert")]
    return [Finding(path.stem, name, problem) for name, rule in named for problem in _problems(rule)]


def _rule(alert: Alert) -> Json:
    return {
        "alert": alert.name,
        "expr": alert.expression,
        "for": alert.hold,
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": alert.runbook,
        },
    }


def _problems(rule: Json) -> list[str]:
    reading = read(str(rule.get("expr", "")))
    problems = list(reading.problems)
    problems += [f"has no {key}" for key in ("for", "labels", "annotations") if not rule.get(key)]
    if not (rule.get("labels") or {}).get("severity"):
        problems.append("has no severity")
    annotations = rule.get("annotations") or {}
    problems += [f"has no {key}" for key in ANNOTATIONS if not annotations.get(key)]
    known = reading.labels | TARGET_LABELS
    said = {label for text in annotations.values() for label in _LABEL.findall(str(text))}
    return problems + [f"tells a label that its result does not have: {label}" for label in sorted(said - known)]
