"""Attribution against an oracle that takes a row at a time, and the cases that a person would ask about."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.attribution import attribute
from pipeline.attribution.confidence import REASON
from pipeline.attribution.mesh_lookups import MESHES
from pipeline.inventory.dataplane import ServicesBy
from pipeline.inventory.models import Resource, convert
from pipeline.inventory.services import VIAS
from pipeline.inventory.snapshot import build
from tests.pipeline.attribution.cluster import APod, Cluster, Era, Flow, journeys
from tests.pipeline.attribution.eras import snapshot_over
from tests.pipeline.attribution.frames import answers, frame_of
from tests.pipeline.attribution.oracle import Oracle
from tests.pipeline.inventory.objects import node, pod, service


@settings(max_examples=200, deadline=None)
@given(journeys(), st.sampled_from(["dialled", "backend"]))
def test_every_row_is_attributed_as_the_oracle_says(
    journey: tuple[list[Era], list[Flow]], services_by: ServicesBy
) -> None:
    """The history of a cluster in one snapshot gives each flow what the cluster as of its start would."""
    eras, listed = journey
    oracle = Oracle(eras)
    for flow, answer in zip(listed, answers(listed, snapshot_over(eras), services_by), strict=True):
        assert answer == oracle.answer(flow, services_by), flow


SNAPSHOT = build(
    [
        node("n1", "192.0.2.1", pod_cidrs=["10.244.1.0/24"]),
        node("n2", "192.0.2.2", pod_cidrs=["10.244.2.0/24"]),
        pod("client", "10.244.1.5", on="n1"),
        pod("web", "10.244.2.5", "fd00::5", on="n2"),
        service("web", "10.96.0.80", kind="NodePort", ports=[{"name": "http", "port": 80, "nodePort": 30080}]),
    ]
)
CLUSTER_IP = Flow("n1", "10.244.1.5", "10.96.0.80", "10.244.2.5", "10.244.1.5", 80, 6)
NODE_PORT = Flow("n1", "198.51.100.7", "192.0.2.1", "10.244.2.5", "10.244.1.0", 30080, 6)


def test_a_connection_through_a_service_has_both_pods_and_counts_at_the_clients_node() -> None:
    there = replace(CLUSTER_IP, node="n2", dst="10.244.2.5", dst_port=8080)
    here, observed = answers([CLUSTER_IP, there], SNAPSHOT)
    assert (here.source, here.destination) == (("Pod", "client"), ("Pod", "web"))
    assert (here.service, here.via, here.role) == (("web", "http"), "cluster_ip", "canonical")
    assert (observed.service, observed.role) == (None, "observer")


def test_a_node_port_counts_where_it_was_masqueraded() -> None:
    behind = Flow("n2", "10.244.1.0", "10.244.2.5", "10.244.2.5", "10.244.1.0", 8080, 6)
    entry, observed = answers([NODE_PORT, behind], SNAPSHOT)
    assert (entry.source, entry.via, entry.role) == (("External", "outside"), "node_port", "canonical")
    assert (observed.source, observed.role) == (("Node", "n1"), "observer")


def test_a_node_port_kept_local_counts_at_the_backends_node() -> None:
    local = replace(NODE_PORT, node="n2", dst="192.0.2.2", nat_src="198.51.100.7")
    passing = replace(local, node="n1")
    assert [answer.role for answer in answers([local, passing], SNAPSHOT)] == ["canonical", "observer"]


def test_a_node_port_on_an_address_that_no_node_lists_is_known_by_its_redirection() -> None:
    redirected = replace(NODE_PORT, dst="203.0.113.9")
    not_redirected = replace(redirected, backend="203.0.113.9")
    known, unknown = answers([redirected, not_redirected], SNAPSHOT)
    assert (known.service, known.via) == (("web", "http"), "node_port")
    assert (unknown.service, unknown.destination) == (None, ("External", "outside"))


def test_a_node_port_on_an_address_that_several_nodes_list_is_known_by_its_redirection() -> None:
    """As where a virtual address moves between nodes, or they share one towards the outside."""
    nodes = [node(name, ip, "203.0.113.5") for name, ip in (("n1", "192.0.2.1"), ("n2", "192.0.2.2"))]
    called = service("web", "10.96.0.80", kind="NodePort", ports=[{"name": "http", "port": 80, "nodePort": 30080}])
    snapshot = build([*nodes, pod("web", "10.244.2.5", on="n2"), called])
    redirected = replace(NODE_PORT, dst="203.0.113.5")
    known, unknown = answers([redirected, replace(redirected, backend="203.0.113.5", backend_port=30080)], snapshot)
    assert (known.service, known.via, known.destination) == (("web", "http"), "node_port", ("Pod", "web"))
    assert (unknown.service, unknown.reason) == (None, "ambiguous_address")


def test_a_balancers_address_on_a_node_answers_for_its_own_ports_and_for_node_ports() -> None:
    """Bare-metal balancers hand out a node's address; where both claim a port, the Service's own address is meant."""
    ports = [{"port": 80, "nodePort": 30080}, {"port": 30081, "nodePort": 30001}]
    balanced = service("lb", kind="LoadBalancer", load_balancer_ips=["192.0.2.1"], ports=ports)
    other = service("other", kind="NodePort", ports=[{"port": 1, "nodePort": 30081}])
    snapshot = build([node("n1", "192.0.2.1"), balanced, other])
    listed = [
        Flow("n1", "198.51.100.7", "192.0.2.1", "10.0.0.1", "198.51.100.7", port, 6) for port in (80, 30080, 30081)
    ]
    told = [(answer.service, answer.via) for answer in answers(listed, snapshot)]
    assert told == [
        (("lb", "80"), "load_balancer_ip"),
        (("lb", "80"), "node_port"),
        (("lb", "30081"), "load_balancer_ip"),
    ]


def test_a_service_that_nobody_answered_for_is_the_destination_itself() -> None:
    (answer,) = answers([replace(CLUSTER_IP, backend="10.96.0.80")], SNAPSHOT)
    assert (answer.destination, answer.service) == (("Service", "web"), ("web", "http"))


def test_icmp_to_a_service_address_dials_no_port() -> None:
    (answer,) = answers([replace(CLUSTER_IP, backend="10.96.0.80", protocol=1, dst_port=0)], SNAPSHOT)
    assert (answer.destination, answer.service) == (("Service", "web"), None)


def test_the_other_family_of_a_pod_is_the_same_pod() -> None:
    (answer,) = answers([replace(CLUSTER_IP, dst="fd00::5", backend="fd00::5")], SNAPSHOT)
    assert (answer.destination, answer.service) == (("Pod", "web"), None)


def test_loopback_is_the_node_that_saw_it() -> None:
    flow = Flow("n2", "127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1", 10250, 6)
    (answer,) = answers([flow], SNAPSHOT)
    assert (answer.source, answer.destination, answer.role) == (("Node", "n2"), ("Node", "n2"), "canonical")


def test_the_nodes_own_dns_cache_is_the_node_that_saw_it() -> None:
    """NodeLocal DNSCache has one link-local address on every node; its clients do not talk to the outside."""
    asked = Flow("n1", "10.244.1.5", "169.254.20.10", "169.254.20.10", "10.244.1.5", 53, 17, 53)
    here, nowhere = answers([asked, replace(asked, node="n9")], SNAPSHOT)
    assert (here.source, here.destination, here.role) == (("Pod", "client"), ("Node", "n1"), "canonical")
    assert nowhere.destination == ("External", "link-local")


@pytest.mark.parametrize("agent", ["169.254.170.23", "fd00:ec2::23"])
def test_the_nodes_own_agent_of_pod_identities_is_the_node_that_saw_it(agent: str) -> None:
    client = "10.244.1.5" if "." in agent else "fd00::5"
    here, elsewhere = answers(
        [Flow("n1", client, address, address, client, 80, 6) for address in (agent, "fd00:ec3::23")], SNAPSHOT
    )
    assert here.destination == ("Node", "n1")
    assert elsewhere.destination == ("External", "private")


def test_an_address_of_the_clusters_that_nothing_holds_is_unknown_and_not_outside() -> None:
    stale = replace(CLUSTER_IP, dst="10.244.2.99", backend="10.244.2.99")
    way_out = replace(CLUSTER_IP, dst="198.51.100.1", backend="198.51.100.1")
    unknown, outside = answers([stale, way_out], SNAPSHOT)
    assert (unknown.destination, unknown.attribution) == (("Unknown", "unknown"), "unknown")
    assert (outside.destination, outside.attribution) == (("External", "outside"), "exact")


@pytest.mark.parametrize(
    ("protocol", "port"),
    [
        *((17, port) for port in (8472, 4789, 6783, 6784, 6081, 8285, 51820, 51821, 51871, 4500)),
        (4, 0),
        (41, 0),
        (47, 0),
        (50, 0),
    ],
)
def test_tunnel_packets_between_nodes_are_overlay(protocol: int, port: int) -> None:
    tunnel = Flow("n1", "192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.1", port, protocol)
    from_pod = replace(tunnel, src="10.244.1.5")
    over_tcp = replace(tunnel, protocol=6)
    roles = [answer.role for answer in answers([tunnel, from_pod, over_tcp], SNAPSHOT)]
    assert roles == ["overlay", "canonical", "canonical"]


def test_a_pod_in_its_nodes_network_is_told_by_the_port_it_declares_where_it_answers() -> None:
    dns = pod("dns", "192.0.2.1", on="n1", host_network=True, ports=[(53, 0, "UDP")])
    snapshot = build([node("n1", "192.0.2.1", "fd00::1"), dns])
    asked = Flow("n1", "198.51.100.7", "192.0.2.1", "192.0.2.1", "198.51.100.7", 53, 17, backend_port=53)
    over_v6 = replace(asked, dst="fd00::1", backend="fd00::1")
    other_port = replace(asked, dst_port=54, backend_port=54)
    asking = replace(asked, src="192.0.2.1", dst="198.51.100.7", backend="198.51.100.7")
    told = answers([asked, over_v6, other_port, asking], snapshot)
    assert [answer.destination for answer in told[:3]] == [("Pod", "dns"), ("Pod", "dns"), ("Node", "n1")]
    assert [(answer.attribution, answer.reason) for answer in told[:3]] == [
        ("inferred", "host_port"),
        ("inferred", "host_port"),
        ("exact", ""),
    ]
    assert (told[3].source, told[3].attribution) == (("Node", "n1"), "exact")


def test_a_host_port_that_nobody_translated_yet_is_its_pods() -> None:
    """The client's node sees the node's address alone; where it was translated, the pod answers by its own address."""
    web = pod("web", "10.244.1.5", on="n1", ports=[(8080, 80, "TCP")])
    snapshot = build([node("n1", "192.0.2.1"), web])
    dialled = Flow("n2", "198.51.100.7", "192.0.2.1", "192.0.2.1", "198.51.100.7", 80, 6, backend_port=80)
    translated = replace(dialled, node="n1", backend="10.244.1.5", backend_port=8080)
    told = answers([dialled, translated], snapshot)
    assert [answer.destination for answer in told] == [("Pod", "web"), ("Pod", "web")]
    assert [answer.reason for answer in told] == ["host_port", ""]


def test_two_pods_that_declare_one_port_of_their_node_leave_the_node_and_say_so() -> None:
    both = [pod(name, on="n1", host_network=True, host_ip="192.0.2.1", ports=[(80, 0, "TCP")]) for name in ("a", "b")]
    asked = Flow("n1", "198.51.100.7", "192.0.2.1", "192.0.2.1", "198.51.100.7", 80, 6, backend_port=80)
    (answer,) = answers([asked], build(both))
    assert (answer.destination, answer.attribution, answer.reason) == (
        ("Node", "n1"),
        "ambiguous",
        "ambiguous_host_port",
    )


BACKEND = Flow("n1", "10.244.1.5", "10.244.2.5", "10.244.2.5", "10.244.1.5", 80, 6, backend_port=80)


DB_PODS: list[Resource] = [
    node("n1", "192.0.2.1"),
    node("n2", "192.0.2.2"),
    pod("client", "10.244.1.5", on="n1"),
    pod("db", "10.244.2.5", on="n2", labels={"app": "db"}),
]


def test_a_flow_straight_to_a_pod_is_a_services_only_where_flows_show_nothing_else() -> None:
    snapshot = build([*DB_PODS, service("db", "10.96.0.1", selector={"app": "db"})])
    assert answers([BACKEND], snapshot)[0].service is None
    (answer,) = answers([BACKEND], snapshot, "backend")
    assert (answer.service, answer.via, answer.reason) == (("db", "80"), "backend", "backend_only")
    assert (answer.destination, answer.attribution) == (("Pod", "db"), "inferred")


EITHER = pytest.mark.parametrize("services_by", ["dialled", "backend"])


def test_who_dials_an_endpoint_of_a_headless_service_is_its_client() -> None:
    """Also where a Service with an address has the endpoint: its clients dial the address."""
    services = [service(name, ip, selector={"app": "db"}) for name, ip in (("db", "None"), ("db-rw", "10.96.0.1"))]
    snapshot = build([*DB_PODS, *services])
    headless, dialled, elsewhere = answers(
        [BACKEND, replace(BACKEND, dst="10.96.0.1"), replace(BACKEND, dst_port=81, backend_port=81)], snapshot
    )
    assert (headless.service, headless.via) == (("db", "80"), "headless")
    assert (headless.attribution, headless.reason) == ("inferred", "headless")
    assert (headless.destination, headless.role) == (("Pod", "db"), "canonical")
    assert (dialled.service, dialled.via) == (("db-rw", "80"), "cluster_ip")
    assert (elsewhere.service, elsewhere.via) == (None, None)


@EITHER
def test_an_endpoint_of_a_headless_service_alone_is_told_as_such_wherever_it_is(services_by: ServicesBy) -> None:
    """A backend tells no more of it than its address does, for that is what is dialled."""
    snapshot = build([*DB_PODS, service("db", "None", selector={"app": "db"})])
    (answer,) = answers([BACKEND], snapshot, services_by)
    assert (answer.service, answer.via, answer.reason) == (("db", "80"), "headless", "headless")


def test_a_backend_of_a_headless_service_and_of_one_with_an_address_may_be_either() -> None:
    """Where the address was translated before the flow was seen, whoever dialled it looks the same."""
    services = [service(name, ip, selector={"app": "db"}) for name, ip in (("db", "None"), ("db-rw", "10.96.0.1"))]
    (answer,) = answers([BACKEND], build([*DB_PODS, *services]), "backend")
    assert (answer.service, answer.via, answer.reason) == (None, None, "ambiguous_service")
    assert [name for name, _ in answer.candidates] == ["db", "db-rw"]


@EITHER
def test_what_a_pods_own_node_says_to_it_is_no_client_of_a_headless_service(services_by: ServicesBy) -> None:
    """The kubelet probes; what runs in another node's network is a client as any other."""
    snapshot = build([*DB_PODS, service("db", "None", selector={"app": "db"})])
    probe = replace(BACKEND, node="n2", src="192.0.2.2", nat_src="192.0.2.2")
    agent = replace(BACKEND, src="192.0.2.1", nat_src="192.0.2.1")
    assert [answer.service for answer in answers([probe, agent], snapshot, services_by)] == [None, ("db", "80")]


@EITHER
def test_an_endpoint_of_two_headless_services_names_both(services_by: ServicesBy) -> None:
    both = [service(name, "None", selector={"app": "db"}) for name in ("db", "db-peers")]
    (answer,) = answers([BACKEND], build([*DB_PODS, *both]), services_by)
    assert (answer.service, answer.reason) == (None, "ambiguous_service")
    assert [name for name, _ in answer.candidates] == ["db", "db-peers"]


def test_a_backend_of_two_services_is_neithers_and_both_are_named() -> None:
    backend = pod("web", "10.244.2.5", on="n2", labels={"app": "web"})
    both = [service(name, ip, selector={"app": "web"}) for name, ip in (("web", "10.96.0.1"), ("canary", "10.96.0.2"))]
    plain, dialled = answers([BACKEND, replace(BACKEND, dst="10.96.0.2")], build([backend, *both]), "backend")
    assert (plain.service, plain.via, plain.reason) == (None, None, "ambiguous_service")
    assert [name for name, _ in plain.candidates] == ["canary", "web"]
    assert (dialled.service, dialled.via, dialled.attribution) == (("canary", "80"), "cluster_ip", "exact")


def test_a_backend_that_is_not_ready_or_beyond_the_cluster_still_tells_the_service() -> None:
    """Connections outlive readiness, and a Service without selector may stand for something outside."""
    endpoints = [{"addresses": ["10.244.2.5"], "conditions": {"ready": False, "terminating": True}}]
    slices = [
        convert(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            {
                "kind": "EndpointSlice",
                "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": name}},
                "endpoints": listed,
                "ports": [{"port": 80}],
            },
        )
        for name, listed in (("web", endpoints), ("legacy", [{"addresses": ["198.51.100.9"]}]))
    ]
    snapshot = build([service("web", "10.96.0.1"), service("legacy", "10.96.0.2"), *slices])
    outside = replace(BACKEND, dst="198.51.100.9", backend="198.51.100.9")
    told = answers([BACKEND, outside, replace(outside, dst="10.96.0.2")], snapshot, "backend")
    assert [answer.service for answer in told] == [("web", "80"), ("legacy", "80"), ("legacy", "80")]
    assert [answer.destination for answer in told[1:]] == [("External", "outside")] * 2


def test_what_two_services_claim_alike_is_ambiguous_and_both_are_named() -> None:
    ports = [{"port": 80, "nodePort": 30080}]
    both = [service(name, kind="LoadBalancer", load_balancer_ips=["203.0.113.1"], ports=ports) for name in ("a", "b")]
    snapshot = build([node("n1", "192.0.2.1"), pod("web", "10.0.0.1", on="n1"), *both])
    balanced = Flow("n1", "198.51.100.7", "203.0.113.1", "10.0.0.1", "198.51.100.7", 80, 6)
    told = answers([balanced, replace(balanced, dst="192.0.2.1", dst_port=30080)], snapshot)
    for answer in told:
        assert (answer.service, answer.via, [name for name, _ in answer.candidates]) == (None, None, ["a", "b"])
        assert (answer.destination, answer.reason) == (("Pod", "web"), "ambiguous_service")


def test_a_reused_address_is_its_holders_of_the_time_and_nobodys_in_between() -> None:
    def only(name: str) -> Cluster:
        return Cluster((), [APod(name, ["10.0.0.1"], "n1", False, "", "Running", False, "web", ())], ())

    snapshot = snapshot_over([Era(10, 20, 0, only("old")), Era(30, 40, 5, only("new"))])
    flow = Flow("n1", "10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1", 80, 6)
    told = answers([replace(flow, start=start) for start in (9, 10, 19, 20, 29, 30, 34, 35, 40)], snapshot)
    nobody = (("Unknown", "unknown"), "unknown", "unknown_source")
    assert [(answer.source, answer.attribution, answer.reason) for answer in told] == [
        nobody,
        (("Pod", "old"), "exact", ""),
        (("Pod", "old"), "exact", ""),
        nobody,
        nobody,
        (("Pod", "new"), "inferred", "before_status"),
        (("Pod", "new"), "inferred", "before_status"),
        (("Pod", "new"), "exact", ""),
        nobody,
    ]


def test_a_node_known_under_several_ids_is_one_node() -> None:
    """A Node whose labels change gets another id; whoever was on it is still on it."""
    again = SNAPSHOT.endpoints.filter(kind="Node", name="n1").with_columns(
        id=pl.lit(SNAPSHOT.endpoints.height, pl.UInt32), zone=pl.lit("z")
    )
    snapshot = replace(SNAPSHOT, endpoints=pl.concat([SNAPSHOT.endpoints, again]))
    assert [answer.role for answer in answers([CLUSTER_IP, NODE_PORT], snapshot)] == ["canonical", "canonical"]
    loopback = Flow("n1", "127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1", 80, 6)
    (answer,) = answers([loopback], snapshot)
    assert (answer.source, answer.role) == (("Node", "n1"), "canonical")


def test_rows_keep_their_order_and_their_columns() -> None:
    frame = frame_of([CLUSTER_IP, NODE_PORT, CLUSTER_IP])
    attributed = attribute(frame, SNAPSHOT)
    assert attributed.select(frame.columns).equals(frame)
    added = {
        "src_id": pl.UInt32(),
        "dst_id": pl.UInt32(),
        "service_id": pl.UInt32(),
        "via": VIAS,
        "role": pl.Enum(["canonical", "observer", "overlay"]),
        "attribution": pl.Enum(["exact", "inferred", "ambiguous", "unknown"]),
        "reason": REASON,
        "service_set": pl.UInt32(),
        "route_id": pl.UInt32(),
        "route_set": pl.UInt32(),
        "mesh": MESHES,
        "subset_id": pl.UInt32(),
    }
    assert dict(attributed.schema) == {**frame.schema, **added}


@pytest.mark.parametrize("objects", [True, False])
def test_no_rows_and_no_objects_are_fine(objects: bool) -> None:
    snapshot = SNAPSHOT if objects else build([])
    assert answers([], snapshot) == []
    assert [answer.role for answer in answers([CLUSTER_IP], build([]))] == ["canonical"]
