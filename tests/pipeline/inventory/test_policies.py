"""Policies as the API server keeps them: defaults, and what it refuses, with the field at fault."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pipeline.inventory.identities import identity_of
from pipeline.inventory.models import convert
from pipeline.inventory.policies import NetworkPolicy

GROUP = "policy.networking.k8s.io"
SUBJECT: dict[str, Any] = {"namespaces": {}}
PEER: dict[str, Any] = {"namespaces": {}}


def network_policy(spec: dict[str, Any]) -> NetworkPolicy:
    body = {"kind": "NetworkPolicy", "metadata": {"name": "np", "namespace": "x"}, "spec": spec}
    made = convert("networking.k8s.io/v1", "NetworkPolicy", body)
    assert isinstance(made, NetworkPolicy)
    return made


@pytest.mark.parametrize(
    ("spec", "directions"),
    [
        ({}, {"Ingress"}),
        ({"egress": []}, {"Ingress"}),
        ({"egress": [{}]}, {"Ingress", "Egress"}),
        ({"policyTypes": [], "egress": [{}]}, {"Ingress", "Egress"}),
        ({"policyTypes": ["Egress"], "ingress": [{}]}, {"Egress"}),
    ],
)
def test_policy_types_default_to_ingress_and_egress_with_egress_rules(
    spec: dict[str, Any], directions: set[str]
) -> None:
    assert network_policy(spec).spec.directions == directions


def test_a_port_without_a_protocol_is_tcp() -> None:
    rules = network_policy({"ingress": [{"ports": [{"port": 80}]}]}).spec.ingress
    assert rules
    assert rules[0].ports
    assert rules[0].ports[0].protocol == "TCP"


@pytest.mark.parametrize(
    ("spec", "at_fault"),
    [
        ({"policyTypes": ["ingress"]}, r"policyTypes\[0\]"),
        ({"ingress": [{"from": [{}]}]}, r"must give.*ingress\[0\]\.from\[0\]"),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}]}, r"ipBlock.*from\[0\]"),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/33"}}]}]}, r"from\[0\]\.ipBlock\.cidr"),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"]}}]}]}, "except"),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}}]}]}, "except"),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["fd00::/9"]}}]}]}, "except"),
        ({"egress": [{"ports": [{"port": 0}]}]}, r"egress\[0\]\.ports\[0\]\.port"),
        ({"egress": [{"ports": [{"port": 80, "endPort": 79}]}]}, "endPort"),
        ({"egress": [{"ports": [{"port": "web", "endPort": 80}]}]}, "endPort"),
        ({"egress": [{"ports": [{"endPort": 80}]}]}, "endPort"),
        ({"egress": [{"ports": [{"port": "80"}]}]}, r"written without quotes - at `\$\.spec\.egress\[0\]\.ports\[0\]"),
        ({"egress": [{"ports": [{"port": "Web_"}]}]}, "no port's name"),
        ({"egress": [{"ports": [{"port": "a-port-of-16-abc"}]}]}, "no port's name"),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.1"}}]}]}, r"prefix length.*ipBlock\.cidr"),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/255.0.0.0"}}]}]}, r"prefix length.*ipBlock\.cidr"),
        ({"egress": [{"ports": [{"protocol": "ICMP"}]}]}, r"ports\[0\]\.protocol"),
        ({"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}, "values"),
        ({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}}, "values"),
        ({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Gt"}]}}, r"matchExpressions\[0\]\.operator"),
    ],
)
def test_an_invalid_network_policy_is_refused_with_its_field(spec: dict[str, Any], at_fault: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=at_fault):
        network_policy(spec)


def test_a_null_is_what_the_api_server_takes_it_for() -> None:
    """A field that is null is absent, an item that is null is empty: a lone `-` in a list of rules allows all."""
    made = network_policy(
        {"podSelector": None, "ingress": [None], "egress": [{"ports": [{"protocol": None, "port": 53}]}]}
    )
    assert made == network_policy({"ingress": [{}], "egress": [{"ports": [{"port": 53}]}]})
    assert network_policy({"podSelector": {"matchLabels": {"app": None}}}).spec.pod_selector.match_labels == {"app": ""}


def test_a_null_that_makes_an_object_wrong_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"must give.*from\[0\]"):
        network_policy({"ingress": [{"from": [{"podSelector": None}]}]})
    with pytest.raises(msgspec.ValidationError, match=r"selector"):
        convert("v1", "Service", {"kind": "Service", "metadata": {"name": "s"}, "spec": {"selector": {"app": None}}})


def rule(**fields: Any) -> dict[str, Any]:
    return {"priority": 1, "subject": SUBJECT, "egress": [{"action": "Deny", "to": [PEER], **fields}]}


@pytest.mark.parametrize(
    ("kind", "spec", "at_fault"),
    [
        ("AdminNetworkPolicy", {"subject": SUBJECT}, "priority"),
        ("AdminNetworkPolicy", {"priority": 1001, "subject": SUBJECT}, "priority"),
        ("AdminNetworkPolicy", {"priority": 1, "subject": {}}, "exactly one.*subject"),
        ("AdminNetworkPolicy", rule(to=[]), r"egress\[0\]"),
        ("AdminNetworkPolicy", rule(to=[{**PEER, "networks": ["::/0"]}]), r"exactly one.*to\[0\]"),
        ("AdminNetworkPolicy", rule(action="Accept"), r"egress\[0\]\.action"),
        ("AdminNetworkPolicy", rule(protocols=[{"tcp": {}}]), r"egress\[0\]\.protocols"),
        ("AdminNetworkPolicy", rule(ports=[{"portRange": {"start": 9, "end": 9}}]), r"end.*ports\[0\]\.portRange"),
        ("BaselineAdminNetworkPolicy", rule(action="Pass"), r"egress\[0\]\.action"),
        ("ClusterNetworkPolicy", rule(), "tier"),
        ("ClusterNetworkPolicy", {**rule(action="Allow"), "tier": "Admin"}, r"egress\[0\]\.action"),
        ("ClusterNetworkPolicy", {**rule(ports=[{"namedPort": "a"}]), "tier": "Admin"}, r"egress\[0\]\.ports"),
        ("ClusterNetworkPolicy", {**rule(to=[{"domainNames": ["a.example"]}]), "tier": "Admin"}, "domainNames"),
    ],
)
def test_an_invalid_cluster_wide_policy_is_refused_with_its_field(
    kind: str, spec: dict[str, Any], at_fault: str
) -> None:
    with pytest.raises(msgspec.ValidationError, match=at_fault):
        convert(f"{GROUP}/v1alpha1", kind, {"kind": kind, "metadata": {"name": "default"}, "spec": spec})


@pytest.mark.parametrize(
    ("peer", "at_fault"),
    [
        ({"namespaces": {"namespaceSelector": {"matchLabels": {"team": "a"}}}}, r"to\[0\]\.namespaces"),
        ({"namespaces": {"sameLabels": ["team"]}}, r"`sameLabels`.*to\[0\]\.namespaces"),
        ({"pods": {"namespaces": {"notSameLabels": ["team"]}, "podSelector": {}}}, r"to\[0\]\.pods"),
        ({"pods": {"podSelector": {"matchlabels": {"app": "a"}}}}, r"`matchlabels`.*to\[0\]\.pods\.podSelector"),
        ({**PEER, "serviceAccounts": {}}, r"`serviceAccounts`.*to\[0\]"),
    ],
)
def test_what_another_version_says_of_a_peer_is_refused(peer: dict[str, Any], at_fault: str) -> None:
    """The peers of v1alpha1's first releases, and of those to come: passed over, they would mean every namespace."""
    body = {"kind": "AdminNetworkPolicy", "metadata": {"name": "a"}, "spec": rule(to=[peer])}
    with pytest.raises(msgspec.ValidationError, match=at_fault):
        convert(f"{GROUP}/v1alpha1", "AdminNetworkPolicy", body)


def test_what_another_version_says_of_a_rule_or_port_is_refused() -> None:
    for more in ({"except": [PEER]}, {"ports": [{"portNumber": {"port": 80, "appProtocol": "http"}}]}):
        body = {"kind": "AdminNetworkPolicy", "metadata": {"name": "a"}, "spec": rule(**more)}
        with pytest.raises(msgspec.ValidationError, match="unknown field"):
            convert(f"{GROUP}/v1alpha1", "AdminNetworkPolicy", body)


def test_the_baseline_policy_has_one_name() -> None:
    body = {"kind": "BaselineAdminNetworkPolicy", "metadata": {"name": "b"}, "spec": {"subject": SUBJECT}}
    with pytest.raises(msgspec.ValidationError, match=r"metadata\.name"):
        convert(f"{GROUP}/v1alpha1", "BaselineAdminNetworkPolicy", body)


def test_cluster_wide_policies_have_no_namespace() -> None:
    body = {"kind": "AdminNetworkPolicy", "metadata": {"name": "a"}, "spec": {"priority": 0, "subject": SUBJECT}}
    made = convert(f"{GROUP}/v1alpha1", "AdminNetworkPolicy", body)
    assert identity_of(made) == ("AdminNetworkPolicy", "", "a")
