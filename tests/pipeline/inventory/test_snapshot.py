"""The snapshot: who holds which address, and what is dialled under which."""

from __future__ import annotations

import ipaddress

import polars as pl
import pytest

from pipeline.inventory import addresses
from pipeline.inventory.endpoints import OUTSIDE, UNKNOWN
from pipeline.inventory.models import Resource, convert
from pipeline.inventory.snapshot import Snapshot, build
from tests.pipeline.inventory.objects import cilium_node, node, owned, pod, service


def holders(snapshot: Snapshot) -> dict[str, str]:
    """Address to kind/name of who holds it."""
    named = snapshot.addresses.join(snapshot.endpoints, left_on="endpoint_id", right_on="id")
    texts = named.select(text=addresses.text("addr_hi", "addr_lo"), who=pl.format("{}/{}", "kind", "name"))
    return dict(texts.iter_rows())


def dialled(snapshot: Snapshot) -> dict[tuple[str, int, int], tuple[str, str, str]]:
    """(address, port, protocol) to (Service, its port's label, via)."""
    named = snapshot.dialled.join(snapshot.services, on="service_id")
    key = named.select(addresses.text("addr_hi", "addr_lo"), "port", "protocol").rows()
    return dict(zip(key, named.select("service", "service_port", "via").rows(), strict=True))


def test_ids_are_row_numbers_and_the_first_two_are_fixed() -> None:
    snapshot = build([service("web", "10.96.0.1"), pod("b"), pod("a"), node("n")])
    assert snapshot.endpoints["id"].to_list() == list(range(snapshot.endpoints.height))
    kinds = ["External", "Unknown", "Node", "Pod", "Pod", "Service"]
    named = snapshot.outside.endpoints.height
    assert snapshot.endpoints["kind"].to_list() == [*kinds, *["External"] * named]
    assert snapshot.endpoints["name"][OUTSIDE] == "outside"
    assert snapshot.endpoints["name"][UNKNOWN] == "unknown"
    assert snapshot.services["service_id"].to_list() == [0]


def test_the_order_of_objects_does_not_matter() -> None:
    objects: list[Resource] = [
        service("web", "10.96.0.1"),
        pod("b", "10.0.0.2"),
        pod("a", "10.0.0.1"),
        node("n", "192.0.2.1"),
    ]
    forward, backward = build(objects), build(reversed(objects))
    assert forward.endpoints.equals(backward.endpoints)
    assert holders(forward) == holders(backward)


def test_a_pod_has_its_workload_node_and_zone() -> None:
    replica_set = owned("apps/v1", "ReplicaSet", "web-abc", ("Deployment", "web"))
    snapshot = build([node("n1", zone="a"), pod("web-abc-1", on="n1", owner=("ReplicaSet", "web-abc")), replica_set])
    row = snapshot.endpoints.row(by_predicate=pl.col("kind") == "Pod", named=True)
    assert (row["workload_kind"], row["workload"], row["node"], row["zone"]) == ("Deployment", "web", "n1", "a")


def test_a_later_object_replaces_an_earlier_one() -> None:
    snapshot = build([pod("a", "10.0.0.1"), pod("a", "10.0.0.2")])
    assert holders(snapshot) == {"10.0.0.2": "Pod/a"}
    assert snapshot.objects == {"Pod": 1}


def test_pods_and_services_without_a_namespace_are_in_the_default_one() -> None:
    snapshot = build([pod("a", namespace=""), pod("a", namespace="default")])
    assert snapshot.endpoints.filter(kind="Pod").select("namespace", "name").rows() == [("default", "a")]


def test_both_families_of_a_pod_are_its_own() -> None:
    assert holders(build([pod("a", "10.0.0.1", "fd00::1")])) == {"10.0.0.1": "Pod/a", "fd00::1": "Pod/a"}


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_holds_no_address(phase: str) -> None:
    snapshot = build([pod("job", "10.0.0.1", phase=phase), pod("web", "10.0.0.1")])
    assert holders(snapshot) == {"10.0.0.1": "Pod/web"}
    assert "job" in snapshot.endpoints["name"]


def test_a_pod_that_is_being_deleted_yields_to_its_successor_only() -> None:
    assert holders(build([pod("old", "10.0.0.1", leaving=True)])) == {"10.0.0.1": "Pod/old"}
    snapshot = build([pod("old", "10.0.0.1", leaving=True), pod("new", "10.0.0.1")])
    assert holders(snapshot) == {"10.0.0.1": "Pod/new"}


def test_an_address_that_two_pods_hold_is_given_to_neither() -> None:
    snapshot = build([pod("a", "10.0.0.1"), pod("b", "10.0.0.1"), pod("c", "10.0.0.1", leaving=True)])
    assert holders(snapshot) == {"10.0.0.1": "Unknown/unknown"}


def test_host_network_pods_leave_the_address_to_their_node() -> None:
    snapshot = build([node("n1", "192.0.2.1"), pod("proxy", "192.0.2.1", on="n1", host_network=True)])
    assert holders(snapshot) == {"192.0.2.1": "Node/n1"}


def test_a_nodes_overlay_and_bridge_addresses_are_its_own() -> None:
    snapshot = build([node("n1", "192.0.2.1", pod_cidrs=["10.244.1.0/24", "fd00:1::/64"])])
    own = {"192.0.2.1", "10.244.1.0", "10.244.1.1", "fd00:1::", "fd00:1::1"}
    assert holders(snapshot) == dict.fromkeys(own, "Node/n1")


def test_a_pod_is_stronger_than_what_a_pod_range_suggests() -> None:
    """Some CNIs hand out addresses without regard to the Node's pod range."""
    snapshot = build([node("n1", pod_cidrs=["10.244.1.0/24"]), pod("a", "10.244.1.1", on="n1")])
    assert holders(snapshot)["10.244.1.1"] == "Pod/a"


def test_a_pod_that_is_alone_on_its_node_has_the_nodes_address() -> None:
    """On Fargate a pod has a node to itself, and both have the address of the one interface."""
    ip = "192.168.13.23"
    alone = pod("dns", ip, on="fargate-1", host_ip=ip)
    told = node("fargate-1", ip, compute_type="fargate")
    assert holders(build([told, alone])) == holders(build([alone])) == {ip: "Pod/dns"}
    assert holders(build([told])) == {ip: "Node/fargate-1"}


def test_addresses_that_a_cni_noted_on_the_node_are_its_own() -> None:
    calico = {
        "projectcalico.org/IPv4Address": "198.51.100.7/24",
        "projectcalico.org/IPv4IPIPTunnelAddr": "10.1.1.1",
        "projectcalico.org/IPv6WireguardInterfaceAddr": "fd00:1::1",
    }
    snapshot = build([node("n1", **calico, **{"flannel.alpha.coreos.com/public-ip": "not an address"})])
    assert holders(snapshot) == dict.fromkeys(("198.51.100.7", "10.1.1.1", "fd00:1::1"), "Node/n1")


def test_addresses_that_kube_ovn_noted_on_the_node_are_its_own() -> None:
    """What a node says to its pods comes from its place in the join subnet."""
    snapshot = build([node("n1", **{"ovn.kubernetes.io/ip_address": "100.64.0.2,fd00:100:64::2"}), node("n2")])
    assert holders(snapshot) == dict.fromkeys(("100.64.0.2", "fd00:100:64::2"), "Node/n1")


def test_addresses_that_cilium_noted_beside_the_node_are_its_own() -> None:
    """What a node says to its pods comes from its CiliumInternalIP, out of the range that pods have theirs from."""
    noted = cilium_node(
        "n1",
        ("InternalIP", "192.0.2.1"),
        ("CiliumInternalIP", "10.0.3.214"),
        ("CiliumInternalIP", "fd00:3::214"),
        ("Hostname", "n1.example.org"),
        pod_cidrs=["10.0.3.0/24"],
        health="10.0.3.9",
    )
    snapshot = build([node("n1", "192.0.2.1"), noted, cilium_node("n2", ("CiliumInternalIP", "10.0.4.7"))])
    own = dict.fromkeys(("192.0.2.1", "10.0.3.214", "fd00:3::214", "10.0.3.9"), "Node/n1")
    assert holders(snapshot) == {**own, "10.0.4.7": "Node/n2"}
    first, last = snapshot.ranges.select(
        addresses.text("hi_from", "lo_from"), addresses.text("hi_to", "lo_to").alias("to")
    ).row(0)
    assert (first, last) == ("10.0.3.0", "10.0.3.255")


@pytest.mark.parametrize("written", ['["10.128.2.0/23"]', '"10.128.2.0/23"'], ids=["list", "text"])
def test_addresses_that_ovn_kubernetes_noted_on_the_node_are_its_own(written: str) -> None:
    """OpenShift's kubelets probe from the management port, the second address of the node's subnet."""
    ovn = {
        "k8s.ovn.org/node-subnets": f'{{"default": {written}, "other": ["10.99.0.0/24"]}}',
        "k8s.ovn.org/node-gateway-router-lrp-ifaddr": '{"ipv4": "100.64.0.8/16"}',
        "k8s.ovn.org/node-gateway-router-lrp-ifaddrs": '{"default": {"ipv4": "100.64.0.9/16"}}',
    }
    snapshot = build([node("n1", "192.0.2.1", **ovn)])
    own = {"192.0.2.1", "10.128.2.0", "10.128.2.1", "10.128.2.2", "100.64.0.8", "100.64.0.9"}
    assert holders(snapshot) == dict.fromkeys(own, "Node/n1")
    assert snapshot.ranges.select(addresses.text("hi_from", "lo_from")).item() == "10.128.2.0"


@pytest.mark.parametrize("told", ["", "no JSON", "[]", '{"default": 7}', '{"default": ["x"]}', '{"default": null}'])
def test_an_annotation_that_is_not_ovn_kubernetes_own_tells_nothing(told: str) -> None:
    keys = ("k8s.ovn.org/node-subnets", "k8s.ovn.org/node-gateway-router-lrp-ifaddrs")
    assert holders(build([node("n1", "192.0.2.1", **dict.fromkeys(keys, told))])) == {"192.0.2.1": "Node/n1"}


def test_a_node_that_only_pods_speak_of_is_a_node() -> None:
    snapshot = build([pod("a", "10.0.0.1", on="n1", host_ip="192.0.2.1")])
    assert holders(snapshot) == {"10.0.0.1": "Pod/a", "192.0.2.1": "Node/n1"}


def test_every_address_of_a_service_is_dialled_by_port_and_protocol() -> None:
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"port": 80, "targetPort": "http"}]
    lb = service(
        "web",
        "10.96.0.1",
        "fd00:96::1",
        kind="LoadBalancer",
        ports=ports,
        load_balancer_ips=["203.0.113.1"],
        external_ips=["203.0.113.2"],
    )
    vias = {
        "10.96.0.1": "cluster_ip",
        "fd00:96::1": "cluster_ip",
        "203.0.113.1": "load_balancer_ip",
        "203.0.113.2": "external_ip",
    }
    assert dialled(build([lb])) == {
        (ip, port, protocol): ("web", label, via)
        for ip, via in vias.items()
        for port, protocol, label in ((53, 17, "dns"), (80, 6, "80"))
    }


@pytest.mark.parametrize("kind", ["ClusterIP", "ExternalName"])
def test_headless_services_and_aliases_are_dialled_under_no_address(kind: str) -> None:
    snapshot = build([service("web", "None" if kind == "ClusterIP" else "", kind=kind)])
    assert snapshot.dialled.is_empty()
    assert snapshot.addresses.is_empty()
    assert snapshot.services.height == 1


def test_one_address_may_serve_several_services_on_different_ports() -> None:
    shared = {"kind": "LoadBalancer", "load_balancer_ips": ["203.0.113.1"]}
    snapshot = build(
        [service("a", ports=[{"port": 80}], **shared), service("b", ports=[{"port": 443}], **shared)]  # type: ignore[arg-type]
    )
    assert dialled(snapshot) == {
        ("203.0.113.1", 80, 6): ("a", "80", "load_balancer_ip"),
        ("203.0.113.1", 443, 6): ("b", "443", "load_balancer_ip"),
    }
    assert holders(snapshot) == {"203.0.113.1": "Unknown/unknown"}


def test_what_two_services_claim_alike_is_told_of_both() -> None:
    ports = [{"port": 80, "nodePort": 30080}]
    snapshot = build([service(name, ports=ports, external_ips=["203.0.113.1"]) for name in ("a", "b")])
    assert snapshot.dialled["service_id"].to_list() == [0, 1]
    assert snapshot.node_ports["service_id"].to_list() == [0, 1]


def test_an_address_twice_on_one_service_is_dialled_once() -> None:
    snapshot = build([service("a", load_balancer_ips=["203.0.113.1"], external_ips=["203.0.113.1"])])
    assert dialled(snapshot) == {("203.0.113.1", 80, 6): ("a", "80", "load_balancer_ip")}


def test_node_ports_are_known_by_port_and_protocol() -> None:
    snapshot = build([service("web", "10.96.0.1", kind="NodePort", ports=[{"port": 80, "nodePort": 30080}])])
    assert snapshot.node_ports.select("port", "protocol", "service_id").rows() == [(30080, 6, 0)]


def test_where_slices_are_left_out_pods_answer_in_the_families_of_their_service() -> None:
    selector = {"app": "web"}
    both = pod("web-1", "10.0.0.1", "fd00::1", labels=selector)
    leaving, ended = (
        pod("web-2", "10.0.0.2", labels=selector, leaving=True),
        pod("web-3", "10.0.0.3", labels=selector, phase="Failed"),
    )
    services = [
        service("one", "10.96.0.1", selector=selector),
        service("two", "10.96.0.2", "fd00:96::2", selector=selector),
        service("none", "10.96.0.3"),
    ]
    snapshot = build([both, leaving, ended, *services])
    named = snapshot.backends.join(snapshot.services, on="service_id")
    rows = zip(
        named["service"], named.select(addresses.text("addr_hi", "addr_lo")).to_series(), named["is_ready"], strict=True
    )
    assert set(rows) == {
        ("one", "10.0.0.1", True),
        ("one", "10.0.0.2", False),
        ("two", "10.0.0.1", True),
        ("two", "fd00::1", True),
        ("two", "10.0.0.2", False),
    }
    assert "EndpointSlice" not in snapshot.objects


def test_external_addresses_of_a_service_that_no_proxy_serves_are_not_its_own() -> None:
    """kube-proxy passes over headless Services and those of type ExternalName, whatever else they say."""
    alias = service("alias", kind="ExternalName", external_ips=["198.51.100.9"])
    snapshot = build([alias, service("peers", "None", external_ips=["198.51.100.10"])])
    assert (dialled(snapshot), holders(snapshot)) == ({}, {})


def ranges(snapshot: Snapshot) -> set[tuple[str, str]]:
    first = addresses.text_of(snapshot.ranges["hi_from"], snapshot.ranges["lo_from"])
    last = addresses.text_of(snapshot.ranges["hi_to"], snapshot.ranges["lo_to"])
    return set(zip(first, last, strict=True))


def test_the_clusters_ranges_are_the_smallest_over_pod_ranges_and_over_cluster_addresses() -> None:
    snapshot = build(
        [
            node("n1", pod_cidrs=["10.244.1.0/24", "fd00:0:0:1::/64"]),
            node("n2", pod_cidrs=["10.244.2.0/24", "fd00:0:0:2::/64"]),
            service("a", "10.96.0.1"),
            service("b", "10.96.0.14"),
            pod("elsewhere", "172.16.0.9"),
        ]
    )
    assert ranges(snapshot) == {
        ("10.244.0.0", "10.244.3.255"),
        ("fd00::", "fd00::3:ffff:ffff:ffff:ffff"),
        ("10.96.0.0", "10.96.0.15"),
    }


def test_pod_ranges_far_apart_are_not_joined() -> None:
    snapshot = build([node("n1", pod_cidrs=["10.0.1.0/24"]), node("n2", pod_cidrs=["100.64.1.0/24"])])
    assert ranges(snapshot) == {("10.0.1.0", "10.0.1.255"), ("100.64.1.0", "100.64.1.255")}


def test_ranges_of_node_pools_apart_are_not_joined() -> None:
    """Some clouds give node pools ranges of their own, between which the rest of the company has its addresses."""
    pools = (
        ("a", "10.4.0.0/24"),
        ("b", "10.4.7.0/24"),
        ("c", "10.64.1.0/24"),
        ("d", "fd00:1:0:1::/64"),
        ("e", "fd00:2::/64"),
    )
    snapshot = build([node(name, pod_cidrs=[cidr]) for name, cidr in pools])
    assert ranges(snapshot) == {
        ("10.4.0.0", "10.4.7.255"),
        ("10.64.1.0", "10.64.1.255"),
        ("fd00:1:0:1::", "fd00:1:0:1:ffff:ffff:ffff:ffff"),
        ("fd00:2::", "fd00:2::ffff:ffff:ffff:ffff"),
    }


def test_what_lies_between_two_declared_service_ranges_is_not_the_clusters() -> None:
    """A cluster that ran out of addresses has a second ServiceCIDR, wherever there was room."""
    cidrs = (("kubernetes", "10.96.0.0/16"), ("more", "10.200.4.0/24"))
    declared = [
        convert("networking.k8s.io/v1", "ServiceCIDR", {"metadata": {"name": name}, "spec": {"cidrs": [cidr]}})
        for name, cidr in cidrs
    ]
    snapshot = build([*declared, service("a", "10.96.0.10"), service("b", "10.200.4.7")])
    assert ranges(snapshot) == {("10.96.0.0", "10.96.255.255"), ("10.200.4.0", "10.200.4.255")}


def test_configured_ranges_are_added_without_overlap() -> None:
    snapshot = build([node("n1", pod_cidrs=["10.244.1.0/24"])], [ipaddress.ip_network("10.244.0.0/16")])
    assert ranges(snapshot) == {("10.244.0.0", "10.244.255.255")}


def test_an_empty_cluster_has_a_snapshot() -> None:
    snapshot = build([])
    assert snapshot.endpoints.height == 2 + snapshot.outside.endpoints.height
    assert snapshot.objects == {}
