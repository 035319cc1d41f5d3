"""What the engine does at the edges that random clusters do not reach."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from pipeline.attribution.offline import attribute_rows
from pipeline.attribution.policies import compile_policies, evaluation
from pipeline.inventory import snapshot
from pipeline.inventory.models import Resource, convert
from tests.pipeline.attribution.policies.clusters import Draw
from tests.pipeline.inventory.objects import cilium_node, node, pod, service

DENY_ALL = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def policy(spec: dict[str, Any], name: str = "np", namespace: str = "shop") -> Resource:
    metadata = {"name": name, "namespace": namespace}
    return convert(
        "networking.k8s.io/v1", "NetworkPolicy", {"kind": "NetworkPolicy", "metadata": metadata, "spec": spec}
    )


def stranger(api_version: str, kind: str, name: str, namespace: str | None) -> Resource:
    metadata = {"name": name, "namespace": namespace}
    return convert(api_version, kind, {"kind": kind, "metadata": metadata})


def judged(objects: list[Resource], src: str, dst: str, port: int = 80, protocol: str = "TCP") -> dict[str, Any]:
    cluster = snapshot.build(objects)
    rows = pl.DataFrame({"src_ip": [src], "dst_ip": [dst], "dst_port": [port], "protocol": [protocol]})
    return attribute_rows(rows, cluster, compile_policies(objects, cluster)).row(0, named=True)


TWO_PODS: list[Resource] = [pod("a", "10.0.0.1"), pod("b", "10.0.0.2")]


def test_a_pod_that_no_policy_selects_is_unprotected() -> None:
    row = judged(TWO_PODS, "10.0.0.1", "10.0.0.2")
    assert row["verdict"] == "allowed"
    assert row["egress"] == {"verdict": "unprotected", "policies": []}


def test_a_policy_of_an_unknown_kind_makes_its_pods_not_judged() -> None:
    strange = stranger("cilium.io/v2", "CiliumNetworkPolicy", "l7", "shop")
    objects = [*TWO_PODS, pod("c", "10.0.0.3", namespace="other"), strange]
    row = judged(objects, "10.0.0.1", "10.0.0.3")
    assert row["egress"]["verdict"] == "not judged"
    assert [(p["kind"], p["name"], p["effect"]) for p in row["egress"]["policies"]] == [
        ("CiliumNetworkPolicy", "l7", "not judged")
    ]
    assert row["ingress_policy"]["verdict"] == "unprotected"


def test_a_network_policy_of_another_group_is_not_judged() -> None:
    strange = stranger("crd.projectcalico.org/v1", "NetworkPolicy", "calico", "shop")
    assert judged([*TWO_PODS, strange], "10.0.0.1", "10.0.0.2")["egress"]["verdict"] == "not judged"


def test_a_cluster_wide_stranger_concerns_every_namespace_and_no_address_outside() -> None:
    strange = stranger("crd.projectcalico.org/v1", "GlobalNetworkPolicy", "all", None)
    row = judged([*TWO_PODS, strange], "203.0.113.1", "10.0.0.2")
    assert row["ingress_policy"]["verdict"] == "not judged"
    assert row["egress"]["verdict"] == "unprotected"


def test_istios_policies_concern_who_is_called_and_from_the_root_namespace_everyone() -> None:
    """Istio's reference of AuthorizationPolicy: the server's proxy decides; in the root namespace it holds in all."""
    objects = [*TWO_PODS, stranger("security.istio.io/v1", "AuthorizationPolicy", "strict", "istio-system")]
    row = judged(objects, "10.0.0.1", "10.0.0.2")
    assert (row["egress"]["verdict"], row["ingress_policy"]["verdict"]) == ("unprotected", "not judged")
    assert [(p["namespace"], p["name"]) for p in row["ingress_policy"]["policies"]] == [("istio-system", "strict")]
    elsewhere = stranger("security.istio.io/v1", "AuthorizationPolicy", "strict", "other")
    assert judged([*TWO_PODS, elsewhere], "10.0.0.1", "10.0.0.2")["ingress_policy"]["verdict"] == "unprotected"


def test_an_egress_firewall_concerns_who_calls() -> None:
    row = judged([*TWO_PODS, stranger("k8s.ovn.org/v1", "EgressFirewall", "default", "shop")], "10.0.0.1", "10.0.0.2")
    assert (row["egress"]["verdict"], row["ingress_policy"]["verdict"]) == ("not judged", "unprotected")


@pytest.mark.parametrize(("kind", "name"), [("StagedGlobalNetworkPolicy", "all"), ("NetworkPolicy", "knp.default.web")])
def test_what_calico_only_shows_makes_nothing_not_judged(kind: str, name: str) -> None:
    """Staged policies take no part, and `knp.` is the name under which Calico's API lists Kubernetes' own."""
    row = judged([*TWO_PODS, stranger("projectcalico.org/v3", kind, name, None)], "10.0.0.1", "10.0.0.2")
    assert row["egress"]["verdict"] == "unprotected"


def test_a_deny_that_is_understood_stands_beside_a_stranger() -> None:
    strange = stranger("cilium.io/v2", "CiliumNetworkPolicy", "l7", "shop")
    row = judged([*TWO_PODS, policy(DENY_ALL), strange], "10.0.0.1", "10.0.0.2")
    assert row["verdict"] == "denied"
    assert [p["name"] for p in row["egress"]["policies"]] == ["np"]


def test_a_flow_to_a_service_has_no_verdict_while_its_backend_is_not_known() -> None:
    row = judged([*TWO_PODS, service("web", "10.96.0.1"), policy(DENY_ALL)], "10.0.0.1", "10.96.0.1")
    assert (row["verdict"], row["egress"], row["ingress_policy"]) == (None, None, None)


def test_pods_on_their_nodes_network_are_never_isolated() -> None:
    host = pod("agent", "192.0.2.1", on="n1", host_network=True)
    row = judged([*TWO_PODS, node("n1", "192.0.2.1"), host, policy(DENY_ALL)], "192.0.2.1", "192.0.2.9")
    assert row["verdict"] == "allowed"
    assert row["egress"]["verdict"] == "unprotected"


def test_a_pods_own_node_is_always_let_in() -> None:
    """The API reference of NetworkPolicySpec: what comes from the pod's local node is allowed, or no probe got through.
    What a pod says to its node is judged like anything else."""
    objects: list[Resource] = [
        node("n1", "192.0.2.1"),
        node("n2", "192.0.2.2"),
        pod("a", "10.0.0.1", on="n1"),
        policy(DENY_ALL),
    ]
    own = judged(objects, "192.0.2.1", "10.0.0.1")
    assert (own["verdict"], own["ingress_policy"]) == ("allowed", {"verdict": "allowed", "policies": []})
    assert judged(objects, "192.0.2.2", "10.0.0.1")["verdict"] == "denied"
    assert judged(objects, "10.0.0.1", "192.0.2.1")["verdict"] == "denied"


def test_a_node_that_speaks_by_ciliums_address_is_the_pods_own_node_too() -> None:
    objects: list[Resource] = [node("n1", "192.0.2.1"), pod("a", "10.0.0.1", on="n1"), policy(DENY_ALL)]
    assert judged(objects, "10.0.0.214", "10.0.0.1")["verdict"] == "denied"
    noted = cilium_node("n1", ("CiliumInternalIP", "10.0.0.214"))
    assert judged([*objects, noted], "10.0.0.214", "10.0.0.1")["verdict"] == "allowed"


def test_an_own_node_that_a_rule_names_is_let_in_by_the_rule() -> None:
    from_node = {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "192.0.2.1/32"}}]}]}
    objects: list[Resource] = [
        node("n1", "192.0.2.1"),
        pod("a", "10.0.0.1", on="n1"),
        policy(from_node),
        policy(DENY_ALL, "deny"),
    ]
    row = judged(objects, "192.0.2.1", "10.0.0.1")
    assert [(p["name"], p["rule"], p["effect"]) for p in row["ingress_policy"]["policies"]] == [("np", "1", "allow")]


def test_a_pod_reaches_itself_by_any_of_its_addresses() -> None:
    objects: list[Resource] = [pod("a", "10.0.0.1", "fd00::1"), policy(DENY_ALL)]
    row = judged(objects, "fd00::1", "10.0.0.1")
    assert row["verdict"] == "allowed"
    assert row["egress"] == {"verdict": "allowed", "policies": []}


def test_a_deny_names_every_isolating_policy() -> None:
    objects = [*TWO_PODS, policy(DENY_ALL, "one"), policy(DENY_ALL, "two"), policy(DENY_ALL, "far", "other")]
    row = judged(objects, "10.0.0.1", "10.0.0.2")
    assert [p["name"] for p in row["ingress_policy"]["policies"]] == ["one", "two"]


def test_a_sidecars_port_has_its_name_too_and_that_of_a_container_which_ends_does_not() -> None:
    """KEP-753: an init container with the restart policy Always runs beside the others, and its ports are the pod's."""
    spec = {
        "initContainers": [
            {"restartPolicy": "Always", "ports": [{"name": "admin", "containerPort": 15000}]},
            {"ports": [{"name": "admin", "containerPort": 15001}]},
        ],
        "containers": [{"ports": [{"name": "web", "containerPort": 8080}]}],
    }
    body = {
        "kind": "Pod",
        "metadata": {"name": "b", "namespace": "shop"},
        "spec": spec,
        "status": {"podIP": "10.0.0.2"},
    }
    by_name = {"podSelector": {}, "ingress": [{"ports": [{"port": "admin"}]}]}
    objects = [TWO_PODS[0], convert("v1", "Pod", body), policy(by_name)]
    verdicts = [judged(objects, "10.0.0.1", "10.0.0.2", port)["verdict"] for port in (15000, 15001, 8080)]
    assert verdicts == ["allowed", "denied", "denied"]


def test_a_protocol_without_ports_passes_rules_that_name_none() -> None:
    open_egress = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}
    tcp_only = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"protocol": "TCP"}]}]}
    assert judged([*TWO_PODS, policy(open_egress)], "10.0.0.1", "10.0.0.2", 0, "ICMP")["verdict"] == "allowed"
    assert judged([*TWO_PODS, policy(tcp_only)], "10.0.0.1", "10.0.0.2", 0, "ICMP")["verdict"] == "denied"


def test_the_later_of_two_objects_of_one_name_stands() -> None:
    open_all: dict[str, Any] = {"podSelector": {}, "ingress": [{}]}
    assert judged([*TWO_PODS, policy(DENY_ALL), policy(open_all)], "10.0.0.1", "10.0.0.2")["verdict"] == "allowed"


def test_no_flows_have_no_verdicts() -> None:
    objects = [*TWO_PODS, policy(DENY_ALL)]
    cluster = snapshot.build(objects)
    rows = pl.DataFrame(schema={"src_ip": pl.String, "dst_ip": pl.String, "dst_port": pl.Int64, "protocol": pl.String})
    assert attribute_rows(rows, cluster, compile_policies(objects, cluster)).height == 0


def test_answers_do_not_depend_on_how_many_are_worked_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = next(drawn for drawn in map(Draw, range(100)) if len(drawn.pods) > 5 and len(drawn.policies) > 5)
    objects = [convert(item["apiVersion"], item["kind"], item) for item in drawn.objects()]
    cluster = snapshot.build(objects)
    ends = [end.ip for end in drawn.ends()]
    rows = pl.DataFrame({"src_ip": ends * len(ends), "dst_ip": [ip for ip in ends for _ in ends]}).with_columns(
        dst_port=pl.lit(80), protocol=pl.lit("TCP")
    )
    whole = attribute_rows(rows, cluster, compile_policies(objects, cluster))
    assert whole["verdict"].n_unique() == 2
    monkeypatch.setattr(evaluation, "_MOST_CANDIDATES", 3)
    assert attribute_rows(rows, cluster, compile_policies(objects, cluster)).equals(whole)
