"""Metrics of the mesh: shares against weights, bounds against what clients hold, plaintext where none may be."""

from __future__ import annotations

import polars as pl
import pytest

from collector.schema import OUTCOMES
from pipeline.aggregate.budget import Limit
from pipeline.aggregate.intervals import wilson
from pipeline.aggregate.mesh import MeshMetrics
from pipeline.aggregate.series import SeriesBudget
from pipeline.attribution import attribute
from pipeline.inventory.models import Resource
from pipeline.inventory.snapshot import Snapshot, build
from tests.pipeline.attribution.cluster import Flow
from tests.pipeline.attribution.frames import frame_of
from tests.pipeline.attribution.mesh_cluster import (
    AMBIENT_CLIENT,
    AMBIENT_SERVER,
    CLIENT,
    CLUSTER,
    NODE,
    PLAIN,
    V1,
    V2,
    WEB_IP,
    authentication,
    destination_rule,
    flow,
    virtual_service,
)

Values = dict[tuple[str, ...], float]


def cluster(*objects: Resource) -> Snapshot:
    return build([*CLUSTER, destination_rule(), *objects])


def add(metrics: MeshMetrics, snapshot: Snapshot, *flows: Flow, opened: int = 1, outcome: str = "closed") -> None:
    frame = frame_of(flows).with_columns(
        pl.lit(opened, pl.UInt8).alias("opened"),
        pl.lit(OUTCOMES.index(outcome), pl.UInt8).alias("outcome"),
        pl.lit(100, pl.UInt64).alias("bytes"),
        pl.lit(1000, pl.UInt64).alias("reply_bytes"),
    )
    metrics.use(snapshot)
    metrics.add(attribute(frame, snapshot))


def values(metrics: MeshMetrics, name: str) -> Values:
    (samples,) = (item for item in metrics.samples() if item.metric.name == f"flowatlas_mesh_{name}")
    return dict(zip(samples.labels.rows(), samples.values.to_list(), strict=True))


def test_subsets_are_counted_for_clients_of_the_mesh_alone() -> None:
    metrics = MeshMetrics()
    around = flow(PLAIN, WEB_IP, 80, V1, 8080)
    add(metrics, cluster(), flow(CLIENT, V1), flow(CLIENT, V1), flow(CLIENT, V2), around)
    assert values(metrics, "subset_connections_total") == {("shop", "web", "v1"): 2, ("shop", "web", "v2"): 1}
    assert values(metrics, "subset_bytes_total")["shop", "web", "v1", "reply"] == 2000


def test_shares_are_seen_beside_what_was_asked_for_with_their_bounds() -> None:
    metrics = MeshMetrics()
    add(metrics, cluster(virtual_service(("v1", 90), ("v2", 10))), *[flow(CLIENT, V1)] * 9, flow(CLIENT, V2))
    assert values(metrics, "subset_configured_ratio") == {("shop", "web", "v1"): 0.9, ("shop", "web", "v2"): 0.1}
    observed = values(metrics, "subset_observed_ratio")
    assert observed["shop", "web", "v2", "estimate"] == 0.1
    bounds = observed["shop", "web", "v2", "lower"], observed["shop", "web", "v2", "upper"]
    assert bounds == pytest.approx((0.0179, 0.4042), abs=1e-4)


def test_shares_begin_anew_when_the_weights_change() -> None:
    metrics = MeshMetrics()
    add(metrics, cluster(virtual_service(("v1", 100), ("v2", 0))), *[flow(CLIENT, V1)] * 5)
    changed = cluster(virtual_service(("v1", 0), ("v2", 100)))
    add(metrics, changed, *[flow(CLIENT, V2)] * 3)
    assert values(metrics, "subset_observed_ratio")["shop", "web", "v2", "estimate"] == 1.0
    assert values(metrics, "subset_connections_total")["shop", "web", "v1"] == 5


def test_shares_are_of_what_was_seen_whether_or_not_the_series_are_there_still() -> None:
    """The series of a subset that gets nothing any more goes for being idle, and one may be folded from the start."""
    metrics, second = MeshMetrics(), 10**9
    budget = SeriesBudget(10**6, Limit(3), idle_s=100)
    add(metrics, cluster(virtual_service(("v1", 100), ("v2", 0))), *[flow(CLIENT, V1)] * 5)
    budget.enforce(metrics.kept(), 1_000 * second)
    changed = cluster(virtual_service(("v1", 50), ("v2", 50)))
    for at in range(1_000, 1_200, 20):
        add(metrics, changed, flow(CLIENT, V2))
        budget.enforce(metrics.kept(), at * second)
    assert ("shop", "web", "v1") not in values(metrics, "subset_connections_total")
    assert values(metrics, "subset_observed_ratio")["shop", "web", "v2", "estimate"] == 1.0
    add(metrics, changed, flow(CLIENT, V1))
    budget.enforce(metrics.kept(), 1_200 * second)
    assert values(metrics, "subset_observed_ratio")["shop", "web", "v1", "estimate"] == 1 / 11
    tight, of_none = MeshMetrics(), SeriesBudget(10**6, Limit(1), idle_s=0)
    add(tight, changed, flow(CLIENT, V1), *[flow(CLIENT, V2)] * 3)
    of_none.enforce(tight.kept(), 1)
    assert values(tight, "subset_connections_total").keys() == {("other", "other", "other")}
    assert values(tight, "subset_observed_ratio")["shop", "web", "v1", "estimate"] == 0.25


def test_shares_are_judged_on_after_a_restart() -> None:
    before, after = MeshMetrics(), MeshMetrics()
    snapshot = cluster(virtual_service(("v1", 50), ("v2", 50)))
    add(before, snapshot, flow(CLIENT, V1), flow(CLIENT, V2))
    for name, part in before.kept().items():
        assert after.kept()[name].restore(part.state()) == 0
    add(after, cluster(virtual_service(("v1", 50), ("v2", 50))), flow(CLIENT, V2), flow(CLIENT, V2))
    assert values(after, "subset_observed_ratio")["shop", "web", "v1", "estimate"] == 0.25


def test_a_subset_without_a_single_connection_has_every_share_possible() -> None:
    metrics = MeshMetrics()
    metrics.use(cluster(virtual_service(("v1", 1))))
    observed = values(metrics, "subset_observed_ratio")
    assert [observed["shop", "web", "v1", bound] for bound in ("lower", "estimate", "upper")] == [0.0, 0.0, 1.0]


def test_what_one_client_holds_is_compared_with_the_bound() -> None:
    metrics = MeshMetrics()
    snapshot = build([*CLUSTER, destination_rule(bound=3)])
    held = [flow(CLIENT, V1), flow(CLIENT, V1), flow(CLIENT, V2), flow(PLAIN, WEB_IP, 80, V1, 8080)]
    add(metrics, snapshot, *held, outcome="open")
    assert values(metrics, "max_connections") == {("shop", "web", subset): 3 for subset in ("", "v1", "v2")}
    most = {("shop", "web", ""): 3, ("shop", "web", "v1"): 2, ("shop", "web", "v2"): 1}
    assert values(metrics, "concurrent_connections") == most
    add(metrics, snapshot, flow(CLIENT, V1), opened=0)
    add(metrics, snapshot, flow(CLIENT, V2))  # comes and goes
    assert values(metrics, "concurrent_connections")["shop", "web", ""] == 2


def test_what_is_held_is_still_held_after_a_restart() -> None:
    before, after = MeshMetrics(), MeshMetrics()
    snapshot = build([*CLUSTER, destination_rule(bound=3)])
    add(before, snapshot, flow(CLIENT, V1), flow(CLIENT, V1), flow(CLIENT, V2), outcome="open")
    for name, part in before.kept().items():
        assert after.kept()[name].restore(part.state()) == 0
    add(after, build([*CLUSTER, destination_rule(bound=3)]), flow(CLIENT, V1), opened=0)
    held = {("shop", "web", ""): 2, ("shop", "web", "v1"): 1, ("shop", "web", "v2"): 1}
    assert values(after, "concurrent_connections") == held


def test_the_end_of_a_connection_from_before_takes_nothing_away() -> None:
    metrics = MeshMetrics()
    snapshot = build([*CLUSTER, destination_rule(bound=3)])
    add(metrics, snapshot, flow(CLIENT, V1), opened=0)
    add(metrics, snapshot, flow(CLIENT, V1), outcome="open")
    assert values(metrics, "concurrent_connections")["shop", "web", "v1"] == 1


def test_plaintext_to_a_strict_pod_is_found() -> None:
    metrics = MeshMetrics()
    strict = cluster(authentication("own", "STRICT"))
    found = flow(PLAIN, WEB_IP, 80, V1, 8080)
    fine = [
        flow(CLIENT, V1),  # its sidecar speaks TLS
        flow(PLAIN, V1, 15021),  # a probe's port
        flow(NODE, V1),  # the kubelet
        flow(PLAIN, CLIENT, backend=PLAIN),
        flow(AMBIENT_CLIENT, AMBIENT_SERVER, 15008),
    ]
    add(metrics, strict, found, *fine)
    label = ("shop", "plain", "Pod", "shop", "web-1", "Pod", "shop", "web", "80")
    assert values(metrics, "plaintext_connections_total") == {label: 1}
    permissive = MeshMetrics()
    add(permissive, cluster(authentication("own", "PERMISSIVE")), found)
    assert values(permissive, "plaintext_connections_total") == {}


@pytest.mark.parametrize(
    ("successes", "total", "expected"),
    [(0, 10, (0.0, 0.2775)), (10, 10, (0.7225, 1.0)), (5, 10, (0.2366, 0.7634)), (0, 0, (0.0, 1.0))],
)
def test_wilsons_interval_is_the_textbooks(successes: int, total: int, expected: tuple[float, float]) -> None:
    interval = wilson(successes, total)
    assert (interval.lower, interval.upper) == pytest.approx(expected, abs=1e-4)
    assert interval.holds(interval.estimate)
