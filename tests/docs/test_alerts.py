"""What docs/how-to/alerts.md gives Alertmanager is of alerts and labels that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.alerts import ALERTS
from dashboards.promql import TARGET_LABELS, read
from dashboards.recordings import RECORDED
from pipeline.catalog import SERIES

PAGE = (Path(__file__).resolve().parents[2] / "docs/how-to/alerts.md").read_text()
(CONFIG,) = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
OF_THE_SERVER = {"cluster"}
"""Labels that whoever scrapes gives all series."""


def labels_of(alert: str) -> set[str]:
    (expression,) = (each.expression for each in ALERTS if each.name == alert)
    found = read(expression, {**SERIES, **RECORDED, "up": tuple(TARGET_LABELS)}).labels
    return {*found, *OF_THE_SERVER} if " by (" in expression else {*found, *OF_THE_SERVER, *TARGET_LABELS}


def alerts_of(matchers: list[str]) -> list[str]:
    (named,) = (re.fullmatch(r'alertname=~?"([\w|]+)"', matcher) for matcher in matchers)
    assert named
    return named[1].split("|")


@pytest.mark.parametrize("rule", CONFIG["inhibit_rules"], ids=lambda rule: rule["source_matchers"][0])
def test_what_inhibits_and_what_is_inhibited_are_alerts_that_have_the_labels_by_which_they_meet(
    rule: dict[str, Any],
) -> None:
    """A label that neither has would be equal in all of them."""
    for alert in alerts_of(rule["source_matchers"]) + alerts_of(rule["target_matchers"]):
        assert set(rule["equal"]) <= labels_of(alert), alert


def test_every_severity_is_told_and_has_a_receiver() -> None:
    severities = {alert.severity for alert in ALERTS}
    assert set(re.findall(r"^\| `(\w+)` \| ", PAGE.partition("\n## ")[0], re.MULTILINE)) == severities
    routed = {matcher for route in CONFIG["route"]["routes"] for matcher in route["matchers"]}
    assert routed <= {f'severity="{severity}"' for severity in severities}
    receivers = {each["name"] for each in CONFIG["receivers"]}
    assert {CONFIG["route"]["receiver"], *(route["receiver"] for route in CONFIG["route"]["routes"])} == receivers
