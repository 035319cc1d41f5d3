"""Flow metrics equal a row-at-a-time count, whatever the windows and snapshots were."""

from __future__ import annotations

from collections import Counter
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.schema import OUTCOMES
from pipeline.aggregate.budget import Limit
from pipeline.aggregate.families import families
from pipeline.aggregate.flows import FlowMetrics
from pipeline.aggregate.series import SeriesBudget
from pipeline.aggregate.tallies import MOST
from pipeline.attribution.confidence import CERTAINTY, EXACT, REASON, REASONS
from pipeline.attribution.roles import ROLES
from pipeline.catalog import BY_NAME
from pipeline.geo import Geo
from pipeline.inventory.services import VIAS
from pipeline.inventory.snapshot import Snapshot
from pipeline.prices import Prices
from tests.pipeline.small_cluster import pod, small_cluster

ATTRIBUTED = pl.Schema(
    {
        "src_id": pl.UInt32(),
        "dst_id": pl.UInt32(),
        "service_id": pl.UInt32(),
        "via": VIAS,
        "role": ROLES,
        "attribution": CERTAINTY,
        "reason": REASON,
        "node": pl.Categorical(),
        "protocol": pl.UInt8(),
        "outcome": pl.UInt8(),
        "opened": pl.UInt8(),
        "packets": pl.UInt64(),
        "bytes": pl.UInt64(),
        "reply_packets": pl.UInt64(),
        "reply_bytes": pl.UInt64(),
    }
)
SNAPSHOTS = (small_cluster(), small_cluster(pod("aaa", "node-a", "10.0.1.9")))
ATTRIBUTIONS = {reason.code: reason.attribution for reason in (EXACT, *REASONS)}
PROTOCOLS = {6: "TCP", 17: "UDP", 1: "ICMP", 99: "99"}

Counts = dict[str, Counter[tuple[str, ...]]]


def row_strategy(snapshot: Snapshot) -> st.SearchStrategy[dict[str, Any]]:
    endpoint = st.integers(0, snapshot.endpoints.height - 1)
    service = st.none() | st.integers(0, snapshot.services.height - 1)
    count = st.integers(0, 2**40)
    return st.fixed_dictionaries(
        {
            "src_id": endpoint,
            "dst_id": endpoint,
            "service_id": service,
            "via": st.sampled_from(VIAS.categories.to_list()),
            "role": st.sampled_from(["canonical", "canonical", "observer", "overlay"]),
            "reason": st.sampled_from(list(ATTRIBUTIONS)),
            "node": st.sampled_from(["node-a", "node-b"]),
            "protocol": st.sampled_from(list(PROTOCOLS)),
            "outcome": st.integers(0, len(OUTCOMES) - 1),
            "opened": st.integers(0, 1),
            "packets": count,
            "bytes": count,
            "reply_packets": count,
            "reply_bytes": count,
        }
    ).map(
        lambda row: {
            **row,
            "via": row["via"] if row["service_id"] is not None else None,
            "attribution": ATTRIBUTIONS[row["reason"]],
        }
    )


@st.composite
def windows(draw: st.DrawFn) -> list[tuple[Snapshot, list[dict[str, Any]], bool]]:
    """Rows, the snapshot that they are under, and whether anybody looks behind them."""
    order = [*draw(st.lists(st.tuples(st.sampled_from(SNAPSHOTS), st.booleans()), max_size=4)), (SNAPSHOTS[0], True)]
    return [(snapshot, draw(st.lists(row_strategy(snapshot), max_size=12)), is_seen) for snapshot, is_seen in order]


def count(rows: list[dict[str, Any]], snapshot: Snapshot, counts: Counts) -> None:
    """The slow, obvious way: each row, one at a time, into each metric that it belongs to."""

    def add(metric: str, labels: tuple[str, ...], value: int) -> None:
        counts[metric][labels] += value

    endpoints, services = snapshot.endpoints.rows(named=True), snapshot.services.rows(named=True)
    for row in rows:
        source, destination = endpoints[row["src_id"]], endpoints[row["dst_id"]]
        protocol = PROTOCOLS[row["protocol"]]
        both_ways = row["bytes"] + row["reply_bytes"]
        if row["role"] == "observer":
            add("flowatlas_observer_bytes_total", (row["node"],), both_ways)
        if row["role"] == "overlay" and source["node"] == row["node"]:
            add("flowatlas_overlay_bytes_total", (row["node"], protocol), both_ways)
        if row["role"] != "canonical":
            continue
        ends = tuple(end[k] for end in (source, destination) for k in ("namespace", "workload", "workload_kind"))
        dialled = services[row["service_id"]] if row["service_id"] is not None else None
        names = ("service_namespace", "service", "service_port")
        service = tuple(dialled[k] for k in names) if dialled else ("", "", "")
        failure = OUTCOMES[row["outcome"]] if OUTCOMES[row["outcome"]] in ("refused", "reset", "no_reply") else None
        for way, prefix in (("request", ""), ("reply", "reply_")):
            for what in ("bytes", "packets"):
                add(f"flowatlas_flow_{what}_total", (*ends, *service, protocol, way), row[prefix + what])
        add("flowatlas_connections_total", (*ends, *service, protocol), row["opened"])
        if failure:
            add("flowatlas_connection_failures_total", (*ends, *service, protocol, failure), 1)
        if dialled:
            label = (*service, dialled["service_type"], protocol)
            add("flowatlas_service_bytes_total", (*label, "request"), row["bytes"])
            add("flowatlas_service_bytes_total", (*label, "reply"), row["reply_bytes"])
            add("flowatlas_service_connections_total", (*label, row["via"]), row["opened"])
            if failure:
                add("flowatlas_service_connection_failures_total", (*label, failure), 1)
            answered = destination["name"] if destination["kind"] == "Pod" else ""
            where = (*service, answered, destination["node"])
            add("flowatlas_service_endpoint_connections_total", where, row["opened"])
        if row["reason"].startswith(("unknown", "ambiguous")) and row["reason"] != "ambiguous_route":
            add("flowatlas_unattributed_bytes_total", (row["reason"],), both_ways)


def exposed(metrics: FlowMetrics) -> Counts:
    found: Counts = {}
    for samples in metrics.samples():
        keys = samples.labels.rows() if samples.metric.labels else [()]
        assert len(set(keys)) == len(keys), "a series is there twice"
        found[samples.metric.name] = Counter(dict(zip(keys, samples.values.to_list(), strict=True)))
    return found


@pytest.mark.parametrize("most", [MOST, 0])
@settings(deadline=None, max_examples=50)  # a first example builds the frames of a snapshot
@given(history=windows())
def test_metrics_equal_a_count_by_hand(most: int, history: list[tuple[Snapshot, list[dict[str, Any]], bool]]) -> None:
    """Any rows, cut into any windows, under snapshots whose ids mean different things; whatever is remembered."""
    metrics = FlowMetrics(most=most)
    expected: Counts = {samples.metric.name: Counter() for samples in metrics.samples()}
    del expected["flowatlas_unattributed_bytes_ratio"]
    for snapshot, rows, is_seen in history:
        metrics.use(snapshot)
        metrics.add(pl.DataFrame(rows, schema=ATTRIBUTED))
        count(rows, snapshot, expected)
        if not is_seen:
            continue
        found = exposed(metrics)
        share = found.pop("flowatlas_unattributed_bytes_ratio")[()]
        whole = expected["flowatlas_flow_bytes_total"].total()
        assert share == pytest.approx(expected["flowatlas_unattributed_bytes_total"].total() / (whole or 1))
        assert found == expected
        for name, series in found.items():
            assert series.keys() == expected[name].keys()


def test_a_share_is_of_all_that_was_counted_and_not_of_the_series_that_are_left() -> None:
    """Pairs of workloads go for being idle while the few reasons for which bytes are not attributed stay."""
    metrics, second = FlowMetrics(), 10**9
    budget = SeriesBudget(10**6, Limit(1000), idle_s=100)
    row: dict[str, Any] = dict.fromkeys(ATTRIBUTED, 1)
    row |= {"service_id": None, "via": None, "outcome": 0, "reply_bytes": 0}
    row |= {"role": "canonical", "node": "node-a"}
    metrics.use(SNAPSHOTS[0])
    for at in range(10):
        unknown = {"src_id": at, "bytes": 300, "attribution": "unknown", "reason": "unknown_source"}
        known = {"src_id": at, "bytes": 700, "attribution": "exact", "reason": ""}
        metrics.add(pl.DataFrame([row | unknown, row | known], schema=ATTRIBUTED))
        budget.enforce(metrics.kept(), (1_000 + 60 * at) * second)
        assert exposed(metrics)["flowatlas_unattributed_bytes_ratio"][()] == pytest.approx(0.3)
    assert budget.expired > 0


def test_every_flow_metric_of_the_catalogue_is_there() -> None:
    prefixes = (
        "flowatlas_pipeline_",
        "flowatlas_series_",
        "flowatlas_policy_",
        "flowatlas_state_",
        "flowatlas_build_",
        "flowatlas_bus_",
        "flowatlas_capture_coverage",
        "flowatlas_drop",
        "flowatlas_node_capture_coverage",
        "flowatlas_capture_",
        "flowatlas_node_",
        "flowatlas_dns_",
        "container_network_",
    )
    wanted = {m.name for m in BY_NAME.values() if m.exposer == "pipeline" and not m.name.startswith(prefixes)}
    assert {samples.metric.name for samples in FlowMetrics(families(Prices("USD", {}), Geo(()))).samples()} == wanted


def test_labels_stay_the_same_object_while_no_series_is_new() -> None:
    """Renderers keep the text of labels by this."""
    metrics = FlowMetrics()
    metrics.use(SNAPSHOTS[0])
    row = {name: 1 for name in ATTRIBUTED if name not in {"via", "role", "node", "attribution", "reason"}}
    frame = pl.DataFrame(
        [{**row, "via": "cluster_ip", "role": "canonical", "node": "node-a", "attribution": "exact", "reason": ""}],
        schema=ATTRIBUTED,
    )
    metrics.add(frame.with_columns(pl.lit(2, pl.UInt8).alias("outcome")))
    before = [samples.labels for samples in metrics.samples()]
    metrics.add(frame.with_columns(pl.lit(2, pl.UInt8).alias("outcome")))
    after = [samples.labels for samples in metrics.samples()]
    assert all(a is b for a, b in zip(before, after, strict=True))
    metrics.add(frame.with_columns(pl.lit(3, pl.UInt8).alias("outcome")))
    failures = {s.metric.name: s for s in metrics.samples()}["flowatlas_connection_failures_total"]
    assert failures.labels["reason"].to_list() == ["refused", "reset"]
    assert failures.values.to_list() == [2, 1]


def test_flows_need_a_snapshot() -> None:
    with pytest.raises(RuntimeError, match="use"):
        FlowMetrics().add(pl.DataFrame(schema=ATTRIBUTED).clear())
