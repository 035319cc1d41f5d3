"""What Flowatlas says of connect times and drops against what the lab's programs measured and met.

A client's own clock runs around the whole call, so it bounds from above what its kernel measured inside. Pure: frames
and text in, a report out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

import polars as pl
from prometheus_client.parser import text_string_to_metric_families

from pipeline.catalog import PAIR

from .verify import KEY, MATCH_TOLERANCE_NS, TCP

HOOKS: Final = ("tcp_health", "drops", "heads")
POLICY_DROP: Final = "netfilter_drop"
OUTSIDE: Final = "outside"


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The outcome of one comparison."""

    timed: int = 0
    """Connections whose connect time is told once and is no longer than their client measured."""
    dropped: int = 0
    """Pairs of workloads that policies cut and whose packets the kernel is told to have dropped for it."""
    wrong: list[str] = field(default_factory=list)
    """What is not so, one a line."""


def working_hooks(metrics: str) -> set[str]:
    """Which of HOOKS a collector says are in the kernel."""
    return {
        sample.labels["hook"]
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == "flowatlas_collector_hook_info" and sample.value == 1
    }


def compare_health(truth: pl.DataFrame, flows: pl.LazyFrame, metrics: str, hooks: Collection[str]) -> HealthReport:
    """Judge what the `hooks` should have told of the truth (`verify.truth_frame`); nothing where there are none."""
    timed, faults = _compare_times(truth, flows) if "tcp_health" in hooks else (0, [])
    dropped, undropped = _compare_drops(flows, metrics) if "drops" in hooks else (0, [])
    return HealthReport(timed, dropped, [*faults, *undropped])


def _compare_times(truth: pl.DataFrame, flows: pl.LazyFrame) -> tuple[int, list[str]]:
    """Every connection that a program in the cluster opened, by its own socket."""
    found = (
        flows.filter(pl.col("role") == "canonical", pl.col("protocol") == TCP)
        .group_by(*KEY, "flow_id", "node")
        .agg(
            pl.col("start").first().cast(pl.Int64),
            pl.col("connect_us").sum(),
            told=(pl.col("connect_us") > 0).sum(),
        )
        .collect()
        .sort("start")
    )
    wanted = truth.filter(pl.col("connected_us").is_not_null(), pl.col("client") != OUTSIDE)
    matched = (
        found.join_asof(
            wanted.select(*KEY, "opened_ns", "id", "client", "scenario", "connected_us").sort("opened_ns"),
            left_on="start",
            right_on="opened_ns",
            by=KEY,
            strategy="nearest",
            tolerance=MATCH_TOLERANCE_NS,
            check_sortedness=False,
        )
        .filter(pl.col("id").is_not_null())
        .with_columns(is_right=(pl.col("told") == 1) & (pl.col("connect_us") <= pl.col("connected_us")))
    )
    wrong = matched.filter(~pl.col("is_right")).sort(*KEY)
    return matched.height - wrong.height, [
        f"{row['client']} {row['src_ip']}:{row['src_port']} -> {row['dst_ip']}:{row['dst_port']} [{row['scenario']}]: "
        f"connect time told {row['told']} times, {row['connect_us']} us, {row['connected_us']} us by the client"
        for row in wrong.iter_rows(named=True)
    ]


def _compare_drops(flows: pl.LazyFrame, metrics: str) -> tuple[int, list[str]]:
    """Pairs whose pod was not let in: what was dialled at a Service's address may be dropped under either name."""
    denied = (
        flows.filter(
            pl.col("role") == "canonical",
            pl.col("protocol") == TCP,
            pl.col("verdict") == "denied",
            pl.col("outcome") == "no_reply",
            pl.col("destination_kind") == "Pod",
        )
        .select(PAIR)
        .unique()
        .sort(PAIR)
        .collect()
        .rows()
    )
    told = {
        tuple(sample.labels[label] for label in PAIR)
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == "flowatlas_drops_total" and sample.labels["reason"] == POLICY_DROP
    }
    missing = [pair for pair in denied if pair not in told]
    return len(denied) - len(missing), [
        f"{pair[0]}/{pair[1]} -> {pair[3]}/{pair[4]}: denied, and no drop is told of" for pair in missing
    ]
