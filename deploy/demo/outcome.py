"""What a run of the demo came to: its verdict against the truth, metrics against history, and how to print it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from prometheus_client.parser import text_string_to_metric_families

from deploy.lab.objects import Cluster
from pipeline.aggregate.rollups import FAILURES
from pipeline.cli.terminal import size
from pipeline.query import scan_flows

from .entrances import sums
from .health import HealthReport, compare_health
from .policies import PolicyReport, compare_policies, judged
from .questions import QuestionReport, compare_questions
from .signals import signal_sums
from .table import table
from .verify import Report, compare, connections, headless_endpoints, truth_frame

PREVIEW = "dashboards.html"
SEEN = "seen.json"
"""Beside the truth: what the run's collectors could see, as `judge` is told it; a recording keeps it."""
SHOWN_ROWS = 30
SHOWN_FAULTS = 10
NEAR = 0.01
"""How far from 1 a pod's coverage may be, which is what one connection that is counted late comes to."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run, judged. `panels` is None where no Prometheus took part; otherwise what the dashboards' check found."""

    report: Report
    talkers: pl.DataFrame
    disagreements: list[str] = field(default_factory=list)
    """Sums that differ between the metrics and the history."""
    policies: PolicyReport = field(default_factory=lambda: PolicyReport(0, 0))
    questions: QuestionReport = field(default_factory=QuestionReport)
    panels: list[str] | None = None
    coverage: Mapping[str, float] = field(default_factory=dict)
    """Of each pod, the share of its interfaces' bytes that is in flows; see `pipeline.aggregate.coverage`."""
    narrowed: int = 0
    """Connections whose route heads told, of several that lead to the Service."""
    health: HealthReport = field(default_factory=HealthReport)
    hooks: Collection[str] = ()
    """What every collector had in the kernel; the connect times and drops that they tell are in `health`."""
    has_dns: bool = False
    """Whether `questions` were looked for."""
    sees_all: bool = False
    """Whether the flow source sees every packet, so that all shares must be 1. Conntrack does not: what a node drops
    before tracking it is at the interface alone."""

    @property
    def ok(self) -> bool:
        """Whether every connection is right, and judged right, the metrics equal the history, and every panel has
        data. And, where the source sees all, that the pods' interfaces carried what is told."""
        is_covered = not self.sees_all or not _far_off(self.coverage)
        wrong = self.policies.wrong or self.health.wrong or self.questions.wrong or self.disagreements or self.panels
        return self.report.ok and not wrong and is_covered

    def print(self, output: Path) -> None:
        """Write the table, the comparison and where to look next to the terminal."""
        print(f"\nWho talked to whom, through which Service (the {min(SHOWN_ROWS, self.talkers.height)} largest):\n")
        print(_talkers_table(self.talkers.head(SHOWN_ROWS)))
        print("\nAgainst the truth that the lab's own programs wrote:\n")
        for line in _verdict(self):
            print("  " + line)
        print(f"\nWhere to look next (in {output}/):\n")
        for line in _next_steps(output):
            print("  " + line)


def judge(
    truth: Sequence[Mapping[str, Any]],
    cluster: Cluster,
    lake: Path,
    metrics: str,
    *,
    began_ns: int = 0,
    panels: list[str] | None = None,
    sees_all: bool = False,
    hooks: Collection[str] = (),
    has_dns: bool = False,
) -> Outcome:
    """Compare the truth's rows with the history, and the exposed metrics with the history's sums.

    Connections older than `began_ns` are an earlier run's that a Kafka topic still held: they are in metrics and
    history alike and in no truth of this run. `hooks` are those that every collector has in the kernel,
    `has_dns` says whether they read DNS.
    """
    everything = scan_flows(lake)
    is_ours = pl.col("start").cast(pl.Int64) >= began_ns
    flows = everything.filter(is_ours)
    is_shared = not everything.filter(~is_ours).limit(1).collect().is_empty()
    host_pods = {f"{pod.namespace}/{pod.name}": pod.node for pod in cluster.pods.values() if pod.host_network}
    headless = headless_endpoints(cluster)
    told = truth_frame(truth, host_pods, cluster.routes, has_heads="heads" in hooks, headless=headless)
    return Outcome(
        report=compare(told, connections(flows)),
        talkers=_talkers(flows),
        disagreements=_disagreements(everything, metrics, cluster),
        policies=compare_policies(told, judged(flows)),
        questions=compare_questions(truth, cluster, metrics) if has_dns and not is_shared else QuestionReport(),
        panels=panels,
        coverage=_coverage(metrics),
        narrowed=_narrowed(flows),
        health=compare_health(told, flows, metrics, hooks),
        hooks=hooks,
        has_dns=has_dns and not is_shared,
        sees_all=sees_all,
    )


def _narrowed(flows: pl.LazyFrame) -> int:
    is_told = (pl.col("reason") == "head") & (pl.col("role") == "canonical") & (pl.col("route") != "")
    told: int = flows.filter(is_told).select(pl.struct("node", "flow_id").n_unique()).collect().item()
    return told


def _coverage(metrics: str) -> dict[str, float]:
    return {
        f"{sample.labels['namespace']}/{sample.labels['pod']}": sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == "flowatlas_capture_coverage_ratio"
    }


def _far_off(coverage: Mapping[str, float]) -> list[str]:
    far = sorted((-abs(share - 1), pod, share) for pod, share in coverage.items() if abs(share - 1) > NEAR)
    return [f"{pod} {share:.4f}" for _, pod, share in far]


def _talkers(flows: pl.LazyFrame) -> pl.DataFrame:
    is_failure = pl.col("outcome").cast(pl.String).is_in(FAILURES)
    ends = ["source_namespace", "source_workload", "destination_namespace", "destination_workload"]
    return (
        flows.filter(pl.col("role") == "canonical")
        .group_by(*ends, "service_namespace", "service", "service_port", "protocol")
        .agg(
            connections=pl.col("opened").cast(pl.Int64).sum(),
            failures=is_failure.sum(),
            bytes=(pl.col("bytes") + pl.col("reply_bytes")).sum(),
        )
        .sort("bytes", "connections", *ends, descending=[True, True, False, False, False, False])
        .collect()
    )


def _talkers_table(talkers: pl.DataFrame) -> str:
    def name(namespace: str, workload: str) -> str:
        return f"{namespace}/{workload}" if namespace else workload

    rows = [
        (
            name(row["source_namespace"], row["source_workload"]),
            f"{name(row['service_namespace'], row['service'])}:{row['service_port']}" if row["service"] else "-",
            name(row["destination_namespace"], row["destination_workload"]),
            {6: "TCP", 17: "UDP"}.get(row["protocol"], str(row["protocol"])),
            str(row["connections"]),
            str(row["failures"] or ""),
            size(row["bytes"]),
        )
        for row in talkers.iter_rows(named=True)
    ]
    return table(
        ("from", "Service dialled", "answered by", "protocol", "connections", "failed", "bytes"), rows, right=(4, 5, 6)
    )


def _disagreements(flows: pl.LazyFrame, metrics: str, cluster: Cluster) -> list[str]:
    exposed: dict[str, int] = {}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            exposed[sample.name] = exposed.get(sample.name, 0) + int(sample.value)
    canonical = flows.filter(pl.col("role") == "canonical")
    recorded = canonical.select(
        flowatlas_connections_total=pl.col("opened").cast(pl.Int64).sum(),
        flowatlas_flow_bytes_total=(pl.col("bytes") + pl.col("reply_bytes")).sum(),
        flowatlas_namespace_connections_total=pl.col("opened").cast(pl.Int64).sum(),
        flowatlas_namespace_bytes_total=(pl.col("bytes") + pl.col("reply_bytes")).sum(),
        flowatlas_flow_packets_total=(pl.col("packets") + pl.col("reply_packets")).sum(),
        flowatlas_connection_failures_total=pl.col("outcome").cast(pl.String).is_in(FAILURES).sum(),
        flowatlas_namespace_connection_failures_total=pl.col("outcome").cast(pl.String).is_in(FAILURES).sum(),
        flowatlas_policy_mismatch_connections_total=(pl.col("mismatch") != "").sum(),
        **sums(cluster),
        **signal_sums(cluster),
    ).collect()
    return [
        f"{name}: {exposed.get(name, 0)} in the metrics, {value} in the history"
        for name, value in recorded.row(0, named=True).items()
        if exposed.get(name, 0) != value
    ]


def _verdict(outcome: Outcome) -> list[str]:
    report = outcome.report
    lines = [
        f"{report.counted} of {report.generated} connections counted once, with the right client, Service, backend, "
        "outcome and bytes",
        f"bytes counted less payload: {report.header_bytes_per_packet:.1f} a TCP packet, its IP and TCP headers",
        f"policies: {outcome.policies.denied} denied as told, {outcome.policies.mismatches} mismatches as told",
    ]
    if report.untracked:
        lines.append(
            f"{report.untracked} attempts were dropped or refused on the client's own node before the kernel tracked "
            "them: not compared, since not every source sees them"
        )
    if "tcp_health" in outcome.hooks:
        lines.append(f"sockets: {outcome.health.timed} connect times within what the client measured")
    if "drops" in outcome.hooks:
        lines.append(f"drops: {outcome.health.dropped} pairs of workloads cut by policies, by the kernel's own reason")
    if outcome.has_dns:
        counted = outcome.questions.counted
        lines.append(f"DNS: {counted} answered questions counted by client, class of name and answer as asked")
    for title, names in (
        ("MISSING", report.missing),
        ("COUNTED TWICE", report.counted_twice),
        ("WRONG", report.wrong),
        ("NEVER GENERATED", report.never_generated),
        ("WRONG BY POLICIES", outcome.policies.wrong),
        ("WRONG BY SOCKETS AND DROPS", outcome.health.wrong),
        ("WRONG BY QUESTIONS TO DNS", outcome.questions.wrong),
        ("METRICS AND HISTORY DISAGREE", outcome.disagreements),
        ("PANELS WITHOUT DATA", outcome.panels or []),
        ("INTERFACES CARRIED OTHER BYTES", _far_off(outcome.coverage) if outcome.sees_all else []),
    ):
        if names:
            lines += [f"{title}: {len(names)}", *(f"    {name}" for name in names[:SHOWN_FAULTS])]
            if len(names) > SHOWN_FAULTS:
                lines.append(f"    and {len(names) - SHOWN_FAULTS} more")
    if outcome.narrowed:
        lines.append(f"heads: {outcome.narrowed} connections told apart of several routes that lead to one Service")
    if not outcome.disagreements:
        lines.append("metrics and history agree: connections, failures, packets and bytes")
    if outcome.coverage:
        pods = len(outcome.coverage)
        near = pods - len(_far_off(outcome.coverage))
        lines.append(f"the interfaces of {near} of {pods} pods carried the bytes that flows tell, within {NEAR:.0%}")
    if outcome.panels is not None and not outcome.panels:
        lines.append("every dashboard panel has data in Prometheus")
    lines.append("OK" if outcome.ok else "NOT OK")
    return lines


def _next_steps(output: Path) -> list[str]:
    return [
        *([f"{PREVIEW}  every dashboard, drawn: open it in a browser"] if (output / PREVIEW).exists() else []),
        "metrics.prom     the metrics at the end of the run, as Prometheus read them",
        "lake/            the history as Delta tables: FLOWATLAS_LAKE=" + str(output / "lake") + " and the notebook",
        "                 notebooks/01-who-talks-to-whom.ipynb",
        "lab/truth.jsonl  what the lab's programs say that they did",
        "dashboards/generated/*.json in this checkout import into Grafana as they are",
        "make demo ARGS=--keep stays up with traffic, metrics and Prometheus to look around in",
    ]
