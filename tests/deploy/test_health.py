"""The demo's check of connect times and drops finds what is wrong."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from deploy.demo.health import HOOKS, compare_health, working_hooks
from deploy.demo.verify import TRUTH_SCHEMA

START = 1_772_366_400_000_000_000
KEY = {"src_ip": "10.0.1.5", "src_port": 4000, "dst_ip": "10.96.0.7", "dst_port": 80, "protocol": 6}
PAIR = {
    "source_namespace": "shop",
    "source_workload": "front",
    "source_workload_kind": "Deployment",
    "destination_namespace": "shop",
    "destination_workload": "database",
    "destination_workload_kind": "StatefulSet",
}
DROPS = (
    "# TYPE flowatlas_drops counter\nflowatlas_drops_total{"
    + ",".join(f'{name}="{value}"' for name, value in PAIR.items())
    + ',reason="%s"} 3\n'
)


def truth(**more: Any) -> pl.DataFrame:
    row = {**dict.fromkeys(TRUTH_SCHEMA), **KEY, "id": "1", "client": "shop/front-1", "opened_ns": START, **more}
    return pl.DataFrame([row], schema=TRUTH_SCHEMA)


def flows(*connects: int, **more: Any) -> pl.LazyFrame:
    """Rows of one connection, one for each connect time."""
    fixed = {"flow_id": 1, "node": "n", "start": START, "role": "canonical", "verdict": "", "outcome": "open"}
    rows = [{**KEY, **PAIR, **fixed, "destination_kind": "Pod", **more, "connect_us": us} for us in connects]
    types = {name: TRUTH_SCHEMA[name] for name in KEY}
    return pl.LazyFrame(rows).cast({**types, "start": pl.Datetime("ns", "UTC")})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("connects", "is_right"), [((0, 90), True), ((100,), True), ((101,), False), ((0,), False), ((50, 40), False)]
)
def test_a_connect_time_is_told_once_and_is_within_the_clients(connects: tuple[int, ...], is_right: bool) -> None:
    report = compare_health(truth(connected_us=100), flows(*connects), "", set(HOOKS))
    assert (report.timed, len(report.wrong)) == ((1, 0) if is_right else (0, 1))


def test_who_is_on_no_node_or_measured_nothing_is_not_judged() -> None:
    for told in (truth(connected_us=100, client="outside"), truth()):
        assert compare_health(told, flows(0), "", set(HOOKS)).wrong == []
    assert compare_health(truth(connected_us=100), flows(0), "", set()).wrong == []


@pytest.mark.parametrize(("reason", "is_right"), [("netfilter_drop", True), ("no_socket", False)])
def test_what_is_denied_is_dropped(reason: str, is_right: bool) -> None:
    denied = flows(0, verdict="denied", outcome="no_reply")
    report = compare_health(truth(), denied, DROPS % reason, set(HOOKS))
    assert (report.dropped, len(report.wrong)) == ((1, 0) if is_right else (0, 1))


def test_hooks_are_those_that_a_collector_has() -> None:
    text = (
        "# TYPE flowatlas_collector_hook_info gauge\n"
        'flowatlas_collector_hook_info{hook="tcp_health",reason=""} 1\n'
        'flowatlas_collector_hook_info{hook="drops",reason="kernel"} 0\n'
    )
    assert working_hooks(text) == {"tcp_health"}
