"""The alerts that the chart brings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy.charts import given, refused, the

pytestmark = pytest.mark.manifests

ROOT = Path(__file__).resolve().parents[2]


def test_an_alert_leads_to_its_page_where_the_files_are_said_to_be() -> None:
    told = given("monitoring.rules=true", "monitoring.runbooks=https://git.example/flowatlas/blob/main/")
    groups = the(told, "PrometheusRule")["spec"]["groups"]
    pages = [rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"] if "alert" in rule]
    start = "https://git.example/flowatlas/blob/main/"
    assert pages
    assert all(page.startswith(f"{start}docs/runbooks/flowatlas-") for page in pages)
    assert all((ROOT / page.removeprefix(start)).is_file() for page in pages)
    assert "does not match" in refused("monitoring.rules=true", "monitoring.runbooks=docs")
