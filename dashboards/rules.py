"""Alerts, recordings and shims as files of Prometheus rules, and what is wrong with such a file.

A rule must parse and name metrics and labels of the catalogue, or of recordings. An alert must say in its annotations
only labels that its result has: Prometheus renders one that is missing as nothing, without a word.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

from pipeline.catalog import SERIES

from . import recordings, shims
from .alerts import ALERTS, Alert
from .build import GENERATED
from .lint import Finding
from .promql import TARGET_LABELS, Reading, read
from .recordings import RECORDED, RECORDINGS, Recording
from .shims import SHIMS

RULES: Final = GENERATED / "alerts.yaml"
"""The committed file of alerts, and the recordings that they read; a test proves it equal to what is built here."""
SHIM_RULES: Final = GENERATED / "shims.yaml"
"""The committed file of shims, likewise."""

ANNOTATIONS: Final = ("summary", "description", "runbook_url")

_HEADING: Final = "# Made from dashboards/{} by `make docs`; do not edit.\n"
_KNOWN: Final = {**SERIES, **RECORDED, "up": tuple(TARGET_LABELS)}
"""What there is to be read; `up` is Prometheus's own."""
_DECLARED: Final = {recording.name: frozenset(recording.labels) for recording in (*RECORDINGS, *SHIMS)}
_LABEL: Final = re.compile(r"\$labels\.(\w+)")
_WIDE: Final = 10_000  # no line is broken within a value

Json = dict[str, Any]


def to_text() -> str:
    """The text of the file of alerts: equal alerts give equal text."""
    groups: dict[str, list[Json]] = {recordings.GROUP: [_recorded(recording) for recording in RECORDINGS]}
    for alert in ALERTS:
        groups.setdefault(alert.group, []).append(_rule(alert))
    return _text("alerts", groups)


def shims_text() -> str:
    """The text of the file of shims."""
    return _text("shims.py", {shims.GROUP: [_recorded(shim) for shim in SHIMS]})


def build(path: Path = RULES, shim_path: Path | None = None) -> list[Path]:
    """Write the files of alerts and of shims; the latter beside the former where no path is given."""
    shim_path = shim_path or path.with_name(SHIM_RULES.name)
    for target, text in ((path, to_text()), (shim_path, shims_text())):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return [path, shim_path]


def check(path: Path = RULES) -> list[Finding]:
    """Everything wrong with the rule file at `path`; empty when all is well."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        rules = [rule for group in document["groups"] for rule in group["rules"]]
        named = [(str(rule["record"] if "record" in rule else rule["alert"]), rule) for rule in rules]
    except (OSError, ValueError, yaml.YAMLError) as error:
        return [Finding(path.stem, "", f"cannot be read: {error}")]
    except (KeyError, TypeError):
        return [Finding(path.stem, "", "is no file of rules: it has no groups of rules, each an alert or a recording")]
    if not named:
        return [Finding(path.stem, "", "holds no rule")]
    return [Finding(path.stem, name, problem) for name, rule in named for problem in _problems(name, rule)]


def _text(made_from: str, groups: dict[str, list[Json]]) -> str:
    document = {"groups": [{"name": name, "rules": rules} for name, rules in groups.items()]}
    return _HEADING.format(made_from) + yaml.safe_dump(document, sort_keys=False, width=_WIDE)


def _recorded(recording: Recording) -> Json:
    return {"record": recording.name, "expr": recording.expression}


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


def _problems(name: str, rule: Json) -> list[str]:
    reading = read(str(rule.get("expr", "")), _KNOWN)
    return reading.problems + (_misrecorded(name, reading) if "record" in rule else _misannounced(rule, reading))


def _misrecorded(name: str, reading: Reading) -> list[str]:
    """What is wrong with a recording beside its expression: who reads it relies on the labels that it declares."""
    if name not in _DECLARED:
        return ["is not declared: nothing tells its labels"]
    if not reading.problems and reading.labels != _DECLARED[name]:
        return [f"has labels {sorted(reading.labels)}, not {sorted(_DECLARED[name])}"]
    return []


def _misannounced(rule: Json, reading: Reading) -> list[str]:
    """What is wrong with an alert beside its expression."""
    problems = [f"has no {key}" for key in ("for", "labels", "annotations") if not rule.get(key)]
    if not (rule.get("labels") or {}).get("severity"):
        problems.append("has no severity")
    annotations = rule.get("annotations") or {}
    problems += [f"has no {key}" for key in ANNOTATIONS if not annotations.get(key)]
    known = reading.labels | TARGET_LABELS
    said = {label for text in annotations.values() for label in _LABEL.findall(str(text))}
    return problems + [f"tells a label that its result does not have: {label}" for label in sorted(said - known)]
