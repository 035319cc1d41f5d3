"""Queries are written against the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dashboards.promql import BUILT_IN, read, substitute
from dashboards.queries import (
    COUNTED,
    NOT,
    beyond,
    extreme,
    failed_share,
    increase,
    instances,
    label_values,
    named,
    quantile,
    rate,
    select,
    share,
    total,
    zero_while,
)
from dashboards.rules import SHIM_RULES
from pipeline.catalog import SERIES, Metric
from tests.dashboards.promtool import complaint

FAILURES = "flowatlas_namespace_connection_failures_total"


def test_what_every_pipeline_knows_alike_is_summed_once() -> None:
    """Pods of a namespace are as many however many pipelines, or workers of one, say so."""
    gauge = "flowatlas_policy_coverage_pods"
    own = "max by (namespace, direction, coverage) (flowatlas_policy_coverage_pods)"
    assert total(gauge, by=("direction",)) == f"sum by (direction) ({own})"
    assert total(gauge) == f"sum ({own})"
    assert total("flowatlas_state_objects", by=("kind",)) == "max by (kind) (flowatlas_state_objects)"
    assert total("flowatlas_state_held_rows") == "sum (flowatlas_state_held_rows)"


def test_pipelines_are_counted_by_what_they_tell_of_themselves() -> None:
    by = ("version", "python")
    assert instances("flowatlas_build_info", by=by) == "count by (version, python) (flowatlas_build_info)"


def test_beyond_the_cluster_is_what_has_no_namespace_and_is_nothing_of_the_clusters() -> None:
    """Whatever kind a file of named ranges gives it."""
    query = rate("flowatlas_flow_bytes_total", where=(beyond("destination"),))
    assert query == (
        'sum (rate(flowatlas_flow_bytes_total{destination_namespace=~"", '
        'destination_workload_kind!~"Node|Unknown|other"}[$__rate_interval]))'
    )
    assert read(substitute(query, BUILT_IN)).problems == []


def test_of_names_that_cadvisor_has_too_ours_are_meant() -> None:
    """Of its series all have an `id`, and those of pods would be counted twice."""
    name = "container_network_receive_bytes_total"
    assert select(name) == f'{name}{{id=""}}'
    assert select(name, {"pod": "$pod"}) == f'{name}{{id="", pod=~"$pod"}}'
    assert label_values(name, "namespace") == f'label_values({name}{{id=""}}, namespace)'
    assert read(select(name)).problems == []
    assert read('flowatlas_connections_total{id=""}').problems == ["flowatlas_connections_total has no label id"]


def test_rate_sums_over_the_union_of_filters() -> None:
    """A series that matches two filters is added once: the filters are joined by `or` inside the sum."""
    query = rate(
        "flowatlas_connections_total",
        by=("protocol",),
        where=({"source_namespace": "$namespace"}, {"destination_namespace": "$namespace"}),
    )
    assert query == (
        "sum by (protocol) ("
        'rate(flowatlas_connections_total{source_namespace=~"$namespace"}[$__rate_interval]) or '
        'rate(flowatlas_connections_total{destination_namespace=~"$namespace"}[$__rate_interval]))'
    )


def test_a_filter_can_say_what_must_not_match() -> None:
    """So that two filters of a union have no series in common, and the second costs nothing where the first has all."""
    query = total("flowatlas_bus_lag_messages", where=({"topic": f"{NOT}$topic"},))
    assert query == 'sum (flowatlas_bus_lag_messages{topic!~"$topic"})'
    assert read(substitute(query, {"topic": ".*"})).problems == []


@pytest.mark.prometheus
@pytest.mark.parametrize(
    ("opened", "failed", "part"),
    [
        ("0+60x5", "0+15x5", 0.25),
        ("0+10x5", "0x5", 0),
        ("0+10x5", "0+20x5", 1),
        ("10x5", "0+1x5", 1),
        ("10x5", "5x5", 0),
        ("10x5", None, 0),
    ],
    ids=["some", "none", "more than are opened", "what was opened before", "nothing happens", "nothing ever failed"],
)
def test_a_failed_share_is_from_0_to_1(opened: str, failed: str | None, part: float, tmp_path: Path) -> None:
    query = failed_share(FAILURES, COUNTED, ({"source_namespace": "shop"},))
    series = {f'{COUNTED}{{source_namespace="shop"}}': opened}
    if failed is not None:
        series[f'{FAILURES}{{source_namespace="shop",reason="reset"}}'] = failed
    test = {"expr": substitute(query, {"__rate_interval": "3m"}), "eval_time": "4m", "exp_samples": [{"value": part}]}
    assert complaint(tmp_path, series, "1m", SHIM_RULES, promql_expr_test=[test]) == ""


def test_increase_covers_the_time_shown() -> None:
    assert increase("flowatlas_connections_total") == "sum (increase(flowatlas_connections_total[$__range]))"


def test_total_reads_a_gauge_as_it_is() -> None:
    assert total("flowatlas_bus_lag_messages", by=("topic",)) == "sum by (topic) (flowatlas_bus_lag_messages)"


def test_an_extreme_keeps_the_labels_asked_for() -> None:
    query = extreme("max", "flowatlas_mesh_subset_observed_ratio", by=("service", "subset"), where=({"service": "a"},))
    assert query == 'max by (service, subset) (flowatlas_mesh_subset_observed_ratio{service=~"a"})'


@pytest.fixture
def latency(monkeypatch: pytest.MonkeyPatch) -> str:
    """A histogram that the catalogue has for one test."""
    metric = Metric("flowatlas_example_seconds", "histogram", "seconds", ("node",), "An example.", buckets=(0.5,))
    for name, labels in metric.series.items():
        monkeypatch.setitem(SERIES, name, labels)
    return metric.name


def test_a_quantile_is_read_from_the_buckets_and_loses_their_bounds(latency: str) -> None:
    query = quantile(0.99, latency, by=("node",), where=({"node": "a"},))
    assert query == (
        "histogram_quantile(0.99, sum by (le, node) "
        '(rate(flowatlas_example_seconds_bucket{node=~"a"}[$__rate_interval])))'
    )
    reading = read(substitute(query, BUILT_IN))
    assert reading.problems == []
    assert reading.labels == {"node"}
    without_bounds = read(substitute(query.replace("by (le, node)", "by (node)"), BUILT_IN))
    assert "not there: le" in without_bounds.problems[0]


def test_a_histogram_has_no_series_of_its_own_name(latency: str) -> None:
    with pytest.raises(KeyError, match=latency):
        rate(latency)


def test_a_metric_that_does_not_exist_is_refused() -> None:
    with pytest.raises(KeyError, match="flowatlas_flows_total"):
        rate("flowatlas_flows_total")


@pytest.mark.parametrize(
    "build",
    [
        lambda: rate("flowatlas_connections_total", by=("pod",)),
        lambda: rate("flowatlas_connections_total", where=({"pod": "x"},)),
        lambda: label_values("flowatlas_connections_total", "pod"),
    ],
)
def test_a_label_that_does_not_exist_is_refused(build: Callable[[], str]) -> None:
    with pytest.raises(KeyError, match="has no label pod"):
        build()


def test_the_wrappers_make_promql_that_parses_with_the_labels_that_they_promise() -> None:
    failures = zero_while(
        "flowatlas_connections_total", "sum by (reason) (rate(flowatlas_connection_failures_total[1m]))", "reason"
    )
    assert read(failures).labels == {"reason"}
    nodes = named("node", "sum by (node) (rate(flowatlas_service_endpoint_connections_total[1m]))", empty="no node")
    assert read(nodes).labels == {"node"}
    part = "sum by (service, endpoint) (rate(flowatlas_service_endpoint_connections_total[1m]))"
    whole = "sum by (service) (rate(flowatlas_service_endpoint_connections_total[1m]))"
    assert read(share(part, whole, of=("service",))).labels == {"service", "endpoint"}
    for query in (failures, nodes, share(part, whole, of=("service",))):
        assert read(query).problems == []
