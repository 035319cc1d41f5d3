"""The lab's manifests: valid Kubernetes, consistent with each other, and rendered into rules that say what they say."""

from __future__ import annotations

import ipaddress
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.lab import programs, services, topology
from deploy.lab.cluster import MANIFESTS
from deploy.lab.files import Files
from deploy.lab.objects import Cluster, load

CUSTOM = {"VirtualService", "DestinationRule", "PeerAuthentication"}


def objects() -> list[dict[str, Any]]:
    return [o for path in sorted(MANIFESTS.glob("*.yaml")) for o in yaml.safe_load_all(path.read_text())]


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return load(MANIFESTS)


def test_valid_by_the_published_schemas() -> None:
    """Every object of a built-in kind passes kubernetes-validate, unknown fields included."""
    import kubernetes_validate

    checked = [o for o in objects() if o["kind"] not in CUSTOM]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the validator's own libraries deprecate each other
        for o in checked:
            kubernetes_validate.validate(o, "1.34", strict=True)
    assert {o["kind"] for o in objects()} >= CUSTOM | {"Ingress", "IngressClass", "NetworkPolicy", "EndpointSlice"}


def test_names_are_unique() -> None:
    named = Counter((o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects())
    uids = Counter(o["metadata"]["uid"] for o in objects())
    assert set(named.values()) == {1}
    assert set(uids.values()) == {1}


def test_owners_exist() -> None:
    """Every owner reference but a CronJob's, whose object is gone, names an object of the manifests."""
    uids = {o["metadata"]["uid"] for o in objects()}
    owners = [owner for o in objects() for owner in o["metadata"].get("ownerReferences", ())]
    assert {owner["kind"] for owner in owners if owner["uid"] not in uids} == {"CronJob"}


def test_running_pods_have_their_own_addresses(cluster: Cluster) -> None:
    ranges = {node.name: node.pod_cidr for node in cluster.nodes}
    networked = [pod for pod in cluster.pods.values() if not pod.host_network]
    assert len({pod.address for pod in networked}) == len(networked)
    assert all(ipaddress.ip_address(pod.address) in ranges[pod.node] for pod in networked)


def test_one_address_was_reused() -> None:
    """A finished pod still names the address that a running pod now has: the trap for attribution."""
    addresses = Counter(
        o["status"].get("podIP") for o in objects() if o["kind"] == "Pod" and "hostNetwork" not in o["spec"]
    )
    assert addresses["10.244.1.5"] == 2


def test_endpoints_listen(cluster: Cluster) -> None:
    """Each endpoint of a Service is a port of a running pod that its program is told to serve."""
    served = {(pod.address, port) for pod in cluster.pods.values() for _, port in pod.ports}
    endpoints = {e for s in cluster.services.values() for p in s.ports for e in p.endpoints}
    assert endpoints <= served
    assert len(endpoints) > 10
    served_v6 = {(pod.address_v6, port) for pod in cluster.pods.values() for _, port in pod.ports}
    endpoints_v6 = {e for s in cluster.services.values() for p in s.ports for e in p.endpoints_v6}
    assert endpoints_v6 <= served_v6
    assert len(endpoints_v6) == 4


def test_ipv6_is_on_both_nodes(cluster: Cluster) -> None:
    """Pods of a dual-stack Service are on both nodes, each in its node's range, and on one of them is another pod."""
    dual = {
        pod.key: (pod.node, ipaddress.ip_address(pod.address_v6)) for pod in cluster.pods.values() if pod.address_v6
    }
    ranges = {node.name: node.pod_cidr_v6 for node in cluster.nodes}
    assert all(address in ranges[node] for node, address in dual.values())
    assert Counter(node for node, _ in dual.values()) == {"node1": 2, "node2": 1}
    assert cluster.services["app-namespace", "backend-service"].cluster_ip_v6 == "fd00:10:96::64"


def test_services_of_every_type(cluster: Cluster) -> None:
    assert {s.type for s in cluster.services.values()} == {"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"}
    assert cluster.services["production", "database"].cluster_ip is None
    assert not cluster.services["app-namespace", "legacy-service"].port(80).endpoints
    assert cluster.services["app-namespace", "sticky-service"].affinity_s == 10800
    assert cluster.services["app-namespace", "web-nodeport"].port(80).node_port == 30080


def test_node_rules_name_every_endpoint(cluster: Cluster) -> None:
    """Each endpoint of a Service with an address is a DNAT target on every node; nobody else is."""
    want = sorted(
        f"dnat to {address}:{port}"
        for s in cluster.services.values()
        if s.cluster_ip
        for p in s.ports
        for address, port in (*p.endpoints, *((f"[{address}]", port) for address, port in p.endpoints_v6))
    )
    for node in cluster.nodes:
        rules = services.render(cluster, node)
        found = sorted(line.partition("dnat")[1] + line.partition("dnat")[2] for line in rules.splitlines())
        assert [line for line in found if line.startswith("dnat to")] == want
        assert f"ip saddr != {topology.POD_RANGE} ip daddr {node.pod_cidr} return" in rules
        assert f"ip6 saddr != {topology.POD_RANGE_V6} ip6 daddr {node.pod_cidr_v6} return" in rules


def test_hand_written_rules_name_the_right_pods(cluster: Cluster) -> None:
    """The address sets of the hand-written rules are those of the pods that they mean; addresses do move in edits."""
    text = (MANIFESTS.parent / "enforcement" / "policies.nft").read_text()
    sets = {
        line.split()[1]: set(line.partition("elements = {")[2].replace("}", "").replace(",", " ").split())
        for line in text.splitlines()
        if line.strip().startswith("set ")
    }

    def addresses(namespace: str, **labels: str) -> set[str]:
        return {pod.address for pod in cluster.pods_labelled(namespace, **labels) if not pod.host_network}

    assert sets["production"] == addresses("production")
    assert sets["databases"] == addresses("production", app="database")
    assert sets["production-backends"] == addresses("production", role="backend")
    assert sets["app-namespace"] == addresses("app-namespace")
    assert sets["web"] == addresses("shop", app="web")
    assert sets["postgres"] == addresses("shop", app="postgres")
    assert sets["kube-system"] == addresses("kube-system")
    assert sets["ingress-nginx"] == addresses("ingress-nginx")


def test_names_of_the_cluster(cluster: Cluster) -> None:
    """Services, headless Services and their pods, pods by address, and the ingress's host are names that DNS serves."""
    lines = programs.names(cluster).splitlines()
    assert "10.96.0.100 backend-service.app-namespace.svc.cluster.local" in lines
    assert "10.244.1.10 database.production.svc.cluster.local" in lines
    assert "10.244.2.10 database-1.database.production.svc.cluster.local" in lines
    assert "10.244.1.10 10-244-1-10.production.pod.cluster.local" in lines
    assert "203.0.113.100 app.example.com" in lines
    names = ("partner-api", "partner")
    wanted = "".join(f"cname={name}.shop.svc.cluster.local,api.partner.example\n" for name in names)
    assert programs.aliases(cluster) == wanted


def test_ingress_paths_go_to_cluster_ips(cluster: Cluster) -> None:
    """As the annotation service-upstream asks, nginx dials the Services' own addresses."""
    (controller,) = cluster.pods_labelled("ingress-nginx")
    text = programs.nginx(cluster, controller, Files(Path("/run/lab")))
    assert "location /api { proxy_pass http://10.96.30.10:8080; }" in text
    assert "location / { proxy_pass http://10.96.30.20:80; }" in text
