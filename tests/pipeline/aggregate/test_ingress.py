"""Metrics of routes: every backend leg once, under its route; what goes around the route is a finding."""

from __future__ import annotations

from collections import Counter
from typing import Any

import polars as pl

from collector.schema import OUTCOMES
from pipeline.aggregate.ingress import IngressMetrics
from pipeline.attribution import attribute
from pipeline.inventory.models import Resource
from pipeline.inventory.snapshot import Snapshot, build
from tests.pipeline.attribution.cluster import Flow
from tests.pipeline.attribution.frames import frame_of
from tests.pipeline.inventory.objects import node, pod, service
from tests.pipeline.inventory.routing_objects import NGINX, ingress, ingress_class

PROXY, WEB, WEB_IP, NODE, CLIENT = "10.8.0.1", "10.8.0.3", "10.0.0.1", "192.0.2.1", "203.0.113.9"
CLUSTER: tuple[Resource, ...] = (
    node("n1", NODE),
    pod("proxy", PROXY, namespace="edge", labels=NGINX, on="n1"),
    pod("web-1", WEB, labels={"app": "web"}, on="n1"),
    service(
        "web",
        WEB_IP,
        kind="NodePort",
        ports=[{"port": 80, "targetPort": 8080, "nodePort": 30080}],
        selector={"app": "web"},
    ),
    service("plain", "10.0.0.5", kind="NodePort", ports=[{"port": 80, "targetPort": 8080, "nodePort": 30081}]),
    ingress_class(),
)
ONE = ingress("site", ("a.example", "/", "web", 80), tls=["a.example"])
TWO = ingress("site", ("a.example", "/", "web", 80), ("b.example", "/", "web", 80))

LEG = Flow("n1", PROXY, WEB_IP, WEB, PROXY, 80, 6, 8080)
DIRECT = Flow("n1", PROXY, WEB, WEB, PROXY, 8080, 6, 8080)
AROUND = Flow("n1", CLIENT, NODE, WEB, NODE, 30080, 6, 8080)
TO_PLAIN = Flow("n1", CLIENT, NODE, WEB, NODE, 30081, 6, 8080)
INSIDE = Flow("n1", WEB, NODE, WEB, WEB, 30080, 6, 8080)

Counts = dict[str, Counter[tuple[str, ...]]]


def measured(metrics: IngressMetrics, snapshot: Snapshot, flows: list[Flow], outcome: str = "closed") -> Counts:
    """What the metrics hold once each flow was added with 100 bytes there and 1000 back."""
    frame = frame_of(flows).with_columns(
        pl.lit(OUTCOMES.index(outcome), pl.UInt8).alias("outcome"),
        pl.lit(1, pl.UInt8).alias("opened"),
        pl.lit(100, pl.UInt64).alias("bytes"),
        pl.lit(1000, pl.UInt64).alias("reply_bytes"),
    )
    metrics.use(snapshot)
    metrics.add(attribute(frame, snapshot))
    return exposed(metrics)


def exposed(metrics: IngressMetrics) -> Counts:
    return {
        samples.metric.name.removeprefix("flowatlas_ingress_"): Counter(
            dict(zip(samples.labels.rows(), samples.values.to_list(), strict=True))
        )
        for samples in metrics.samples()
    }


def test_a_backend_leg_is_counted_under_its_route_whatever_was_dialled() -> None:
    found = measured(IngressMetrics(), build([*CLUSTER, ONE]), [LEG, DIRECT, AROUND, TO_PLAIN], "reset")
    label: Any = ("Ingress", "shop", "site", "a.example", "/", "true", "shop", "web", "80")
    assert found["bytes_total"] == {(*label, "request"): 200, (*label, "reply"): 2000}
    assert found["connections_total"] == {label: 2}
    assert found["connection_failures_total"] == {(*label, "reset"): 2}


def test_what_candidates_differ_in_is_said_to_be_several() -> None:
    found = measured(IngressMetrics(), build([*CLUSTER, TWO]), [LEG])
    assert found["connections_total"] == {("Ingress", "shop", "site", "several", "/", "false", "shop", "web", "80"): 1}


def test_only_a_client_outside_goes_around_a_route_and_only_of_a_service_that_has_one() -> None:
    found = measured(IngressMetrics(), build([*CLUSTER, ONE]), [LEG, AROUND, TO_PLAIN, INSIDE])
    assert found["bypass_connections_total"] == {("shop", "web", "80", "node_port"): 1}


def test_totals_go_on_by_name_under_another_snapshot() -> None:
    metrics = IngressMetrics()
    measured(metrics, build([*CLUSTER, TWO]), [LEG])
    measured(metrics, build([*CLUSTER, ONE]), [LEG])
    found = measured(metrics, build([*CLUSTER, ingress("first", ("", "/", "plain", 80)), TWO]), [LEG])
    assert sorted(found["connections_total"].values()) == [1, 2]


def test_without_routes_there_is_nothing_to_count() -> None:
    found = measured(IngressMetrics(), build(CLUSTER), [LEG, AROUND])
    assert all(not series for series in found.values())
