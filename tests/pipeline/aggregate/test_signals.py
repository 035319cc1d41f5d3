"""Signals of Services that need one connection alone."""

from __future__ import annotations

import polars as pl
import pytest

from pipeline.aggregate.signals import ServiceSignals
from pipeline.catalog import BY_NAME
from pipeline.inventory.models import convert
from pipeline.inventory.snapshot import Snapshot, build
from tests.pipeline.aggregate.connections import (
    DATABASE,
    NOW,
    SECOND,
    SOLO,
    VIPS,
    WEB,
    Call,
    attributed,
    exposed,
    services_cluster,
    with_span,
)
from tests.pipeline.small_cluster import pod, service

SNAPSHOT = services_cluster()
NO_ENDPOINT = "flowatlas_service_no_endpoint_connections_total"
BYPASS = "flowatlas_service_bypass_connections_total"
LAST = "flowatlas_service_last_connection_timestamp_seconds"


def signals(*batches: list[Call], snapshot: Snapshot = SNAPSHOT) -> ServiceSignals:
    found = ServiceSignals()
    found.use(snapshot)
    for batch in batches:
        found.add(attributed(batch, snapshot))
    return found


def test_a_service_without_endpoints_is_dialled_in_vain() -> None:
    vain = Call(VIPS["empty"], "empty", backend_port=80)
    fine = Call(WEB[0], "web")
    assert exposed(signals([vain, fine], [vain]).samples(), NO_ENDPOINT) == {("shop", "empty", "80"): 2}


def test_a_later_row_of_the_connection_is_no_connection() -> None:
    again = Call(VIPS["empty"], "empty", backend_port=80, opened=0)
    assert exposed(signals([again]).samples(), NO_ENDPOINT) == {}


def test_whether_a_service_had_an_endpoint_is_judged_as_of_the_connection() -> None:
    snapshot = with_span(SNAPSHOT, SOLO, 10, 20)
    vain = [Call(VIPS["solo"], "solo", at=at, backend_port=80) for at in (5, 9.999, 10, 19.999, 20, 25)]
    answered = Call(SOLO, "solo", at=25, backend_port=80)  # by an endpoint that is leaving
    assert exposed(signals([*vain, answered], snapshot=snapshot).samples(), NO_ENDPOINT) == {("shop", "solo", "80"): 4}


def test_a_pod_that_is_dialled_itself_bypasses_the_service() -> None:
    calls = [
        Call(SOLO, backend_port=80),
        Call(SOLO, backend_port=80),
        Call(SOLO, "solo", backend_port=80),
        Call(SOLO, backend_port=9090),  # no Service has this port
    ]
    source = ("shop", "client-a", "Pod")
    assert exposed(signals(calls).samples(), BYPASS) == {(*source, "shop", "solo", "80"): 2}


def test_an_endpoint_of_several_services_is_told_as_none_of_them() -> None:
    assert exposed(signals([Call(WEB[0])]).samples(), BYPASS) == {("shop", "client-a", "Pod", "", "", ""): 1}


@pytest.mark.parametrize(
    "call",
    [
        Call(DATABASE, backend_port=5432),  # the name of a headless Service leads here
        Call(SOLO, backend_port=80, src="192.0.2.11", node="node-b"),  # the kubelet's probes
        Call(SOLO, backend_port=80, src="198.51.100.1", node="node-b"),
        Call("198.51.100.1", backend_port=80),
    ],
)
def test_what_has_no_other_way_bypasses_nothing(call: Call) -> None:
    assert exposed(signals([call]).samples(), BYPASS) == {}


def test_a_bypass_is_judged_as_of_the_connection() -> None:
    calls = [Call(SOLO, backend_port=80, at=at) for at in (5, 15)]
    found = signals(calls, snapshot=with_span(SNAPSHOT, SOLO, 10, 20))
    assert list(exposed(found.samples(), BYPASS).values()) == [1]


def test_every_service_port_says_when_it_was_called_last() -> None:
    calls = [Call(WEB[0], "web", at=2), Call(WEB[1], "web", at=1), Call(DATABASE, backend_port=5432, at=3)]
    now = NOW / SECOND
    assert exposed(signals(calls).samples(), LAST) == {
        ("shop", "web", "80"): now + 2,
        ("shop", "sticky", "80"): 0,
        ("shop", "empty", "80"): 0,
        ("shop", "solo", "80"): 0,
        ("shop", "database", "5432"): 0,
        ("shop", "peers", "5432"): now + 3,  # a headless Service's clients dial the pod
    }


def test_of_a_headless_service_only_the_last_call_is_told() -> None:
    """Nothing chooses among its endpoints, so it is neither uneven nor dialled in vain."""
    calls = [Call(DATABASE, backend_port=5432, at=at) for at in range(30)]
    found = signals(calls, snapshot=with_span(SNAPSHOT, DATABASE, 0, 60)).samples()
    assert exposed(found, LAST)["shop", "peers", "5432"] == NOW / SECOND + 29
    assert exposed(found, "flowatlas_service_endpoint_skew_ratio") == {}
    assert exposed(found, NO_ENDPOINT) == {}


def test_any_of_several_headless_services_may_have_been_called() -> None:
    snapshot = services_cluster(service("replicas", "None", 5432, selector={"app": "database"}))
    told = exposed(signals([Call(DATABASE, backend_port=5432, at=3)], snapshot=snapshot).samples(), LAST)
    assert {told["shop", name, "5432"] for name in ("peers", "replicas")} == {NOW / SECOND + 3}


def test_signals_outlive_a_change_of_ids() -> None:
    """A pod before all others and a Service before all others move every id."""
    found = signals(
        [Call(WEB[0], "web", at=2), Call(VIPS["empty"], "empty", backend_port=80), Call(SOLO, backend_port=80)]
    )
    first = found.samples()
    other = services_cluster(
        pod("aaa", "node-a", "10.0.1.99"),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "aaa", "namespace": "shop"},
            "spec": {"clusterIP": "10.96.0.99", "ports": [{"port": 1}]},
        },
    )
    found.use(other)
    found.add(attributed([Call(WEB[0], "web", at=1), Call(VIPS["empty"], "empty", backend_port=80)], other))
    later = found.samples()
    assert exposed(later, NO_ENDPOINT) == {("shop", "empty", "80"): 2}
    assert exposed(later, BYPASS) == exposed(first, BYPASS)
    assert exposed(later, LAST)["shop", "web", "80"] == NOW / SECOND + 2
    assert exposed(later, LAST).keys() == exposed(first, LAST).keys() | {("shop", "aaa", "1")}


def test_service_ports_that_are_gone_are_forgotten_and_signals_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept under their numbers has new ones, and says the same as if none had gone."""
    told = []
    for most in (3, 1_000):
        monkeypatch.setattr("pipeline.aggregate.signals.MOST_FORGOTTEN", most)
        found, sizes = ServiceSignals(), []
        found.use(build([convert("v1", "Service", service("before", "10.96.1.1", 80))]))
        for day in range(30):
            snapshot = services_cluster(service(f"preview-{day}", "10.96.1.1", 80))
            found.use(snapshot)
            rows = [Call(SOLO, "solo", at=day), Call(WEB[day % 2], "sticky", at=day)]
            found.add(attributed([*rows, *(Call(WEB[0], "web", at=day) for _ in range(9))], snapshot))
            sizes.append(found.kept()["ports"].state()["labels"].height)
        found.settle()
        told.append({one.metric.name: exposed([one], one.metric.name) for one in found.samples()})
        assert (max(sizes) > 2 * 7 + 3) == (most > 3)
    assert told[0] == told[1]
    assert told[0]["flowatlas_service_affinity_connections_total"][("shop", "sticky", "80", "broken")] == 29
    assert told[0]["flowatlas_service_endpoint_skew_ratio"][("shop", "web", "80")] == 3


def test_all_signals_of_the_catalogue_are_there() -> None:
    names = {
        f"flowatlas_service_{what}"
        for what in (
            "no_endpoint_connections_total",
            "affinity_connections_total",
            "bypass_connections_total",
            "endpoint_skew_ratio",
            "endpoint_gini_ratio",
            "last_connection_timestamp_seconds",
        )
    }
    assert {samples.metric.name for samples in signals().samples()} == names <= BY_NAME.keys()


def test_flows_need_a_snapshot() -> None:
    with pytest.raises(RuntimeError, match="use"):
        ServiceSignals().add(pl.DataFrame())
