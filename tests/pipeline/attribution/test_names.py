"""Names in place of ids."""

from __future__ import annotations

import polars as pl
import pytest

from pipeline.attribution import with_labels, with_structs
from pipeline.catalog import PAIR, SERVICE
from pipeline.inventory.endpoints import OUTSIDE
from pipeline.inventory.services import VIAS
from pipeline.inventory.snapshot import build
from tests.pipeline.inventory.objects import node, pod, service

SNAPSHOT = build(
    [
        node("n1", "192.0.2.1", zone="z"),
        pod("web-0", "10.0.0.1", on="n1", owner=("StatefulSet", "web")),
        service("web", "10.96.0.1", ports=[{"port": 80}, {"name": "admin", "port": 81}]),
        service("x-canary", external_ips=["203.0.113.1"]),
        service("x-stable", external_ips=["203.0.113.1"]),
    ]
)
NODE, POD, SERVICE_END = (SNAPSHOT.endpoints["kind"].to_list().index(kind) for kind in ("Node", "Pod", "Service"))
FRAME = pl.DataFrame(
    {
        "src_id": [POD, OUTSIDE, NODE],
        "dst_id": [POD, SERVICE_END, OUTSIDE],
        "service_id": [0, 1, None],
        "via": ["cluster_ip", "node_port", None],
        "service_set": [None, None, 0],
    },
    schema={
        "src_id": pl.UInt32(),
        "dst_id": pl.UInt32(),
        "service_id": pl.UInt32(),
        "via": VIAS,
        "service_set": pl.UInt32(),
    },
)


def test_labels_are_those_of_the_catalogue_and_never_null() -> None:
    named = with_labels(FRAME.lazy(), SNAPSHOT).collect()
    assert {*PAIR, *SERVICE, "service_type", "endpoint"} <= set(named.columns)
    assert named.drop("service_id", "via", "service_set").null_count().sum_horizontal().item() == 0
    assert named.select(PAIR).rows() == [
        ("shop", "web", "StatefulSet", "shop", "web", "StatefulSet"),
        ("", "outside", "External", "shop", "web", "Service"),
        ("", "n1", "Node", "", "outside", "External"),
    ]
    assert named.select(*SERVICE, "service_type").rows() == [
        ("shop", "web", "80", "ClusterIP"),
        ("shop", "web", "admin", "ClusterIP"),
        ("", "", "", ""),
    ]
    assert named.select("source_node", "source_zone").rows() == [("n1", "z"), ("", ""), ("n1", "z")]


def test_only_a_pod_is_an_endpoint() -> None:
    assert with_labels(FRAME.lazy(), SNAPSHOT).collect()["endpoint"].to_list() == ["web-0", "", ""]


@pytest.mark.parametrize("ids", [["src_id"], ["dst_id"], ["service_id"], []])
def test_labels_come_for_the_ids_that_are_there(ids: list[str]) -> None:
    whole = with_labels(FRAME.lazy(), SNAPSHOT).collect()
    part = with_labels(FRAME.lazy().select(ids), SNAPSHOT).collect()
    assert part.equals(whole.select(part.columns))
    assert len(part.columns) == {"src_id": 8, "dst_id": 9, "service_id": 5}.get("".join(ids), 0)


def test_structs_say_null_where_a_field_does_not_apply() -> None:
    first, second, third = with_structs(FRAME.lazy(), SNAPSHOT).collect().to_dicts()
    assert first["source"] == {
        "kind": "Pod",
        "namespace": "shop",
        "name": "web-0",
        "workload_kind": "StatefulSet",
        "workload": "web",
        "node": "n1",
        "zone": "z",
    }
    web = {"namespace": "shop", "name": "web", "type": "ClusterIP"}
    assert first["service"] == {**web, "port_name": None, "via": "cluster_ip"}
    assert second["service"] == {**web, "port_name": "admin", "via": "node_port"}
    assert (second["source"]["namespace"], second["destination"]["node"]) == (None, None)
    assert third["service"] is None


def test_what_an_ambiguous_row_may_mean_is_listed() -> None:
    *clear, ambiguous = with_structs(FRAME.lazy(), SNAPSHOT).collect()["service_candidates"].to_list()
    assert clear == [None, None]
    assert [(told["namespace"], told["name"], told["port_name"]) for told in ambiguous] == [
        ("shop", "x-canary", None),
        ("shop", "x-stable", None),
    ]
