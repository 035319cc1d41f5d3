"""Alerts on DNS fire when and only when they should."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dashboards.promtool import PAIR, PAIR_LABELS, Case, told

BYPASS = "flowatlas_dns_bypass_queries_total"


def asked(**values: str) -> dict[str, str]:
    """Questions of one workload by response code, or by class of name where that is what tells them apart."""
    client = 'source_namespace="shop",source_workload="web"'
    told = {name: (name, "NOERROR") if name in {"outside", "search"} else ("service", name) for name in values}
    return {
        f'flowatlas_dns_queries_total{{{client},name_class="{told[name][0]}",rcode="{told[name][1]}"}}': rate
        for name, rate in values.items()
    }


def took(fast: str, all_of_them: str) -> dict[str, str]:
    """Answers that came within half a second, and all; those that are slower came within a second."""
    client = 'source_namespace="shop",source_workload="web"'
    latency = "flowatlas_dns_latency_seconds"
    bounds = {"0.5": fast, "1.0": all_of_them, "+Inf": all_of_them}
    buckets = {f'{latency}_bucket{{{client},le="{bound}"}}': values for bound, values in bounds.items()}
    return {**buckets, f"{latency}_count{{{client}}}": all_of_them}


CLIENT = {"source_namespace": "shop", "source_workload": "web"}
LABELS = {
    "FlowatlasDnsErrors": CLIENT,
    "FlowatlasDnsSlow": {"source_namespace": "shop"},
    "FlowatlasDnsSearchWaste": CLIENT,
    "FlowatlasDnsBypass": PAIR_LABELS,
}
CASES = [
    Case(
        "FlowatlasDnsErrors",
        "failures and silence together are one of ten",
        asked(NOERROR="0+90x60", SERVFAIL="0+5x60", no_answer="0+5x60"),
        30,
        1,
        "10%",
    ),
    Case("FlowatlasDnsErrors", "at the bound", asked(NOERROR="0+95x60", SERVFAIL="0+5x60"), 30, 0),
    Case("FlowatlasDnsErrors", "names that are not there", asked(NOERROR="0+50x60", NXDOMAIN="0+50x60"), 30, 0),
    Case("FlowatlasDnsErrors", "of next to nothing", asked(NOERROR="0x60", SERVFAIL="0+4x60"), 30, 0),
    Case("FlowatlasDnsErrors", "over within five minutes", asked(NOERROR="0+90x60", SERVFAIL="0x20 60x40"), 23, 0),
    Case("FlowatlasDnsSlow", "two of 100 are slow", took("0+98x60", "0+100x60"), 40, 1, "750ms"),
    Case("FlowatlasDnsSlow", "one of 200 is slow", took("0+199x60", "0+200x60"), 40, 0),
    Case("FlowatlasDnsSlow", "of next to nothing", took("0x60", "0+1x60"), 40, 0),
    Case("FlowatlasDnsSearchWaste", "three of four", asked(outside="0+30x200", search="0+90x200"), 190, 1, "75%"),
    Case("FlowatlasDnsSearchWaste", "half", asked(outside="0+60x200", search="0+60x200"), 190, 0),
    Case("FlowatlasDnsSearchWaste", "less than one a second", asked(outside="0+10x200", search="0+30x200"), 190, 0),
    Case("FlowatlasDnsBypass", "the first ever", {f"{BYPASS}{{{PAIR}}}": "_x20 1x40"}, 23, 1),
    Case("FlowatlasDnsBypass", "one more", {f"{BYPASS}{{{PAIR}}}": "3x20 4x40"}, 25, 1),
    Case("FlowatlasDnsBypass", "no more than there were", {f"{BYPASS}{{{PAIR}}}": "3x60"}, 30, 0),
]


@pytest.mark.prometheus
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_fires_when_it_should_and_only_then(case: Case, tmp_path: Path) -> None:
    assert told(case, LABELS[case.alert], tmp_path) == ""
