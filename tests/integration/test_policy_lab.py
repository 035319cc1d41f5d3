"""Policies against a real kernel that enforces them, and against one that does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.demo.policies import compare_policies
from deploy.demo.verify import TRUTH_SCHEMA
from pipeline.query import scan_flows
from tests.integration.demo_runs import DemoRuns


def exposed(output: Path, metric: str) -> dict[tuple[str, ...], int]:
    """Series of a metric in the run's last exposition, by their label values in alphabetical order of the labels."""
    text = (output / "metrics.prom").read_text()
    return {
        tuple(sample.labels[name] for name in sorted(sample.labels)): int(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == metric
    }


@pytest.mark.root
def test_what_policies_cut_is_denied_by_them_and_nothing_is_a_mismatch(demo_runs: DemoRuns) -> None:
    ran = demo_runs("nftables", "conntrack")
    outcome = ran.outcome
    assert outcome.policies.wrong == []
    assert outcome.policies.denied > 3
    assert outcome.policies.mismatches == 0
    flows = scan_flows(ran.output / "lake").collect()
    assert flows["mismatch"].unique().to_list() == [""]
    debug = flows.filter((pl.col("source_name") == "netshoot") & (pl.col("verdict") == "denied"))
    assert set(debug["destination_workload"]) == {"database", "frontend"}
    assert exposed(ran.output, "flowatlas_policy_mismatch_connections_total") == {}
    denials = exposed(ran.output, "flowatlas_policy_connections_total")
    by_policy = {labels[1]: count for labels, count in denials.items() if labels[0] == "ingress" and "denied" in labels}
    assert {"allow-from-app-namespace", "web-netpol"} <= by_policy.keys()


@pytest.mark.root
def test_where_nothing_enforces_them_every_denied_connection_is_a_mismatch(demo_runs: DemoRuns) -> None:
    ran = demo_runs("none", "conntrack")
    outcome = ran.outcome
    assert outcome.policies.wrong == []
    assert outcome.policies.denied == 0
    told = [json.loads(line) for line in (ran.output / "lab" / "truth.jsonl").read_text().splitlines()]
    through = [row["id"] for row in told if row["scenario"].startswith("denied-") and row["outcome"] == "closed"]
    assert outcome.policies.mismatches == len(through) > 10
    counted = exposed(ran.output, "flowatlas_policy_mismatch_connections_total")
    assert sum(counted.values()) == outcome.policies.mismatches
    assert {labels[-1] for labels in counted} >= {"Pod"}
    log = (ran.output / "logs" / "pipeline.log").read_text()
    assert "established although denied: default/netshoot to production/database port 5432" in log


def row(**values: Any) -> dict[str, Any]:
    key = {"src_ip": "10.0.0.1", "src_port": 1, "dst_ip": "10.0.0.2", "dst_port": 80, "protocol": 6}
    return key | values


@pytest.mark.parametrize(
    ("truth", "found", "faults"),
    [
        ({"denied_by": "shop/web"}, {"verdict": "denied", "policies": ["isolates NetworkPolicy/shop/web/"]}, 0),
        ({"denied_by": "shop/web"}, {"verdict": "denied", "policies": ["isolates NetworkPolicy/shop/other/"]}, 1),
        ({"denied_by": "shop/web"}, {"verdict": "allowed"}, 2),
        ({"scenario": "denied-ingress", "outcome": "closed"}, {"mismatch": "established_denied", "marks": 1}, 0),
        ({"scenario": "denied-ingress", "outcome": "closed"}, {"mismatch": "established_denied", "marks": 2}, 1),
        ({"scenario": "denied-ingress", "outcome": "closed"}, {}, 1),
        ({"scenario": "web", "outcome": "closed"}, {"mismatch": "established_denied", "marks": 1}, 1),
        ({"scenario": "web", "outcome": "closed"}, {}, 0),
    ],
)
def test_the_comparison_finds_faults(truth: dict[str, Any], found: dict[str, Any], faults: int) -> None:
    told = {"id": "1", "opened_ns": 5, "client": "a/b", "scenario": "s", "outcome": "no_reply", "denied_by": None}
    seen = {"start": 6, "verdict": "allowed", "policies": [], "mismatch": "", "marks": 0}
    frame = pl.DataFrame([row(**seen | found)], schema_overrides={"policies": pl.List(pl.String)})
    keys = {name: dtype for name, dtype in TRUTH_SCHEMA.items() if name in frame.columns}
    truths = pl.DataFrame([{**dict.fromkeys(TRUTH_SCHEMA), **row(**told | truth)}], schema=TRUTH_SCHEMA)
    (fault,) = compare_policies(truths, frame.cast(keys)).wrong or [""]  # type: ignore[arg-type]  # a mapping of types
    assert fault.count(";") + bool(fault) == faults
