"""How many dashboards, alerts and misdeeds the readme says there are."""

from __future__ import annotations

import re

import yaml

from deploy.demo.misdeeds import TROUBLES
from tests.docs.shell_lines import ROOT

WORDS = {"twelve": 12, "thirteen": 13, "thirty-six": 36, "thirty-seven": 37, "thirty-eight": 38}
README = (ROOT / "README.md").read_text()


def counted(pattern: str) -> int:
    (word,) = re.findall(pattern, README)
    return WORDS[word] if word in WORDS else int(word)


def test_dashboards() -> None:
    assert counted(r"\*\*Dashboards\*\*, ([\w-]+) of them") == len(list((ROOT / "dashboards/generated").glob("*.json")))


def test_alerts() -> None:
    groups = yaml.safe_load((ROOT / "dashboards/generated/alerts.yaml").read_text())["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    assert counted(r"\*\*Alert rules\*\*, ([\w-]+) of them") == len(alerts)


def test_misdeeds() -> None:
    assert counted(r"let ([\w-]+) things go wrong") == len(TROUBLES)
