"""The demo's comparison finds each kind of fault that it exists for: it can fail."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from deploy.demo.verify import Report, compare, connections, truth_frame
from deploy.lab.objects import Route

SECOND = 1_000_000_000


def truth(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": "1",
        "scenario": "web",
        "client": {"namespace": "default", "pod": "client-1"},
        "src_ip": "10.244.1.5",
        "src_port": 40000,
        "dst_ip": "10.96.0.10",
        "dst_port": 80,
        "protocol": 6,
        "service": {"namespace": "default", "name": "web", "port": 80},
        "backend": {"namespace": "default", "pod": "web-1", "ip": "10.244.2.5", "port": 8080},
        "sent_bytes": 100,
        "received_bytes": 1000,
        "sent_again_bytes": 0,
        "received_again_bytes": 0,
        "outcome": "closed",
        "opened_ns": 10 * SECOND,
        "closed_ns": 11 * SECOND,
        "denied_by": None,
        "tracked": True,
    }
    return row | changes


def flow(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "start": 10 * SECOND + 5,
        "time": 11 * SECOND,
        "node": "node1",
        "flow_id": 7,
        "role": "canonical",
        "src_ip": "10.244.1.5",
        "src_port": 40000,
        "dst_ip": "10.96.0.10",
        "dst_port": 80,
        "protocol": 6,
        "source_namespace": "default",
        "source_name": "client-1",
        "destination_namespace": "default",
        "destination_name": "web-1",
        "service_namespace": "default",
        "service": "web",
        "outcome": "closed",
        "opened": 1,
        "packets": 5,
        "bytes": 100 + 5 * 52 + 8,
        "reply_packets": 4,
        "reply_bytes": 1000 + 4 * 52 + 8,
        **dict.fromkeys(("route_namespace", "route", "route_host", "route_path", "mesh", "subset"), ""),
    }
    return row | changes


def ingress_route(host: str, path: str = "/", name: str = "site") -> Route:
    return Route(host=host, path=path, service=("default", "web"), port=80, ingress=("default", name))


MATCHED = {"namespace": "default", "name": "site", "host": "a.example", "path": "/"}
FOUND = {"route_namespace": "default", "route": "site", "route_host": "a.example", "route_path": "/"}


def judged(
    truths: list[dict[str, Any]], flows: list[dict[str, Any]], *routes: Route, has_heads: bool = False
) -> Report:
    schema = {"src_port": pl.UInt16, "dst_port": pl.UInt16, "protocol": pl.UInt8}
    return compare(
        truth_frame(truths, {"kube-system/agent-1": "node1"}, routes, has_heads=has_heads),
        connections(pl.LazyFrame(flows, schema_overrides=schema)),
    )


def test_a_connection_seen_once_and_right_is_ok() -> None:
    report = judged([truth()], [flow(), flow(role="observer", node="node2")])
    assert report.ok, report
    assert (report.generated, report.counted) == (1, 1)
    assert report.header_bytes_per_packet == pytest.approx(52, abs=2)


def test_who_dials_an_endpoint_of_a_headless_service_means_it() -> None:
    key = ("10.244.2.5", 8080, 6)
    direct = truth(service=None, dst_ip=key[0], dst_port=key[1])
    told = truth_frame([direct, {**direct, "dst_port": 8081}], {}, headless={key: "default/peers"})
    assert told["service"].to_list() == ["default/peers", ""]


def test_payload_that_was_sent_again_is_no_fault() -> None:
    again = flow(packets=6, bytes=100 + 6 * 80 + 88)
    assert judged([truth(sent_again_bytes=88)], [again]).ok
    assert not judged([truth(sent_again_bytes=87)], [again]).ok


def test_unknown_payload_sent_again_is_at_most_all_of_it_once() -> None:
    assert judged([truth(sent_again_bytes=None)], [flow(bytes=100 + 5 * 80 + 100)]).ok
    assert not judged([truth(sent_again_bytes=None)], [flow(bytes=100 + 5 * 80 + 101)]).ok


def test_what_the_kernel_itself_says_is_no_connection() -> None:
    igmp = flow(protocol=2, src_ip="10.244.1.1", src_port=0, dst_ip="224.0.0.22", dst_port=0)
    assert judged([truth()], [flow(), igmp]).ok


def test_observations_of_one_connection_add_up() -> None:
    first = flow(outcome="open", packets=2, bytes=120, reply_packets=1, reply_bytes=60)
    last = flow(opened=0, packets=3, bytes=248, reply_packets=3, reply_bytes=1156)
    assert judged([truth()], [first, last]).ok


def test_a_missing_connection_is_named() -> None:
    report = judged([truth(), truth(id="2", src_port=40001)], [flow()])
    assert not report.ok
    assert "10.244.1.5:40001 -> default/web 10.96.0.10:80/6 [web]" in report.missing[0]


@pytest.mark.parametrize("second", [{"flow_id": 8}, {"node": "node2"}, {"opened": 1, "packets": 0, "bytes": 0}])
def test_a_connection_counted_twice_is_named(second: dict[str, Any]) -> None:
    report = judged([truth()], [flow(), flow(**second)])
    assert len(report.counted_twice) == 1
    assert not report.ok


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source_name": "other"}, "client default/other, not default/client-1"),
        ({"destination_name": "web-2"}, "backend default/web-2, not default/web-1"),
        ({"service": "api"}, "service default/api, not default/web"),
        ({"service": "", "service_namespace": ""}, "service , not default/web"),
        ({"outcome": "reset"}, "outcome reset, not closed"),
        ({"opened": 0}, "opened 0 times"),
        ({"bytes": 100 + 5 * 39}, "bytes 295 in 5 packets for a payload of 100"),
        ({"reply_bytes": 1000 + 4 * 81}, "reply_bytes 1324 in 4 packets for a payload of 1000"),
    ],
)
def test_a_wrong_fact_is_named(changes: dict[str, Any], said: str) -> None:
    report = judged([truth()], [flow(**changes)])
    assert report.counted == 0
    assert said in report.wrong[0]


def test_the_route_of_an_ingress_is_compared_as_far_as_a_flow_can_tell() -> None:
    leg, one, other = truth(route=MATCHED), ingress_route("a.example"), ingress_route("b.example")
    assert judged([leg], [flow(**FOUND)], one).ok
    assert judged([leg], [flow(**FOUND | {"route_host": "several"})], one, other).ok
    assert (
        "route default/site a.example /, not default/site several /"
        in judged([leg], [flow(**FOUND)], one, other).wrong[0]
    )
    assert not judged([leg], [flow()], one).ok
    assert not judged([truth()], [flow(**FOUND)], one).ok
    with pytest.raises(ValueError, match="is no route"):
        judged([leg], [flow(**FOUND)], other)


def test_heads_tell_the_route_from_when_they_were_seen() -> None:
    leg, routes = truth(route=MATCHED), (ingress_route("a.example"), ingress_route("b.example"))
    assert judged([leg], [flow(**FOUND)], *routes, has_heads=True).ok
    several = flow(**FOUND | {"route_host": "several"})
    assert "route default/site several /, not" in judged([leg], [several], *routes, has_heads=True).wrong[0]
    before = several | {"outcome": "open", "packets": 2, "bytes": 120, "reply_packets": 1, "reply_bytes": 60}
    after = flow(**FOUND, opened=0, packets=3, bytes=248, reply_packets=3, reply_bytes=1156)
    parts = [after | {"time": 12 * SECOND}, before]
    assert judged([leg], parts, *routes, has_heads=True).ok
    assert not judged([leg], [after, before | {"time": 12 * SECOND}], *routes, has_heads=True).ok


def test_mode_and_subset_are_compared_where_the_truth_speaks_of_them() -> None:
    leg = truth(mesh={"namespace": "default", "host": "web", "subset": "v1", "mode": "sidecar"})
    assert judged([leg], [flow(mesh="sidecar", subset="v1")]).ok
    assert "mesh sidecar v2, not sidecar v1" in judged([leg], [flow(mesh="sidecar", subset="v2")]).wrong[0]
    assert judged([truth()], [flow(subset="v1")]).ok


def test_a_connection_that_nobody_made_is_named() -> None:
    late = flow(flow_id=9, start=20 * SECOND)
    assert len(judged([truth()], [flow(), late]).never_generated) == 1


def test_a_reused_port_is_two_connections() -> None:
    again = truth(id="2", opened_ns=15 * SECOND)
    assert judged([truth(), again], [flow(), flow(flow_id=8, start=15 * SECOND)]).ok


def test_untracked_attempts_are_counted_apart() -> None:
    report = judged([truth(), truth(id="2", src_port=1, tracked=False, denied_by="deny-all")], [flow()])
    assert report.ok
    assert report.untracked == 1


def test_a_host_network_pod_is_its_node_and_the_outside_has_no_name() -> None:
    client = truth(client={"namespace": "kube-system", "pod": "agent-1"}, backend={"name": "api"}, service=None)
    found = flow(source_namespace="", source_name="node1", service="", service_namespace="")
    found |= {"destination_namespace": "", "destination_name": "outside"}
    assert judged([client], [found]).ok
