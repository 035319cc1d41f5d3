"""NetworkPolicies that a real API server takes or refuses: we take and refuse the same, and mean what it keeps."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import msgspec
import pytest

from pipeline.attribution.policies.readers import read_one
from pipeline.attribution.policies.terms import Policy
from pipeline.inventory.models import convert
from tests.kube_apiserver import KubeApiServer

pytestmark = pytest.mark.apiserver
Spec = dict[str, Any]

EVERYONE: Final[Spec] = {"podSelector": {}}
LABELS: Final = (
    *(None, {}, {"app": "a"}, {"app": None}, {"app": ""}, {"app": 1}),
    *({key: "a"} for key in ("a b", "-a", "a/b", "a.b-c/d_e.F", "A/b", "a/", "/a", "a/b/c", "é", "a" * 63, "a" * 64)),
)
"""Values that no label can have are left out: the server refuses them, but keeps selectors from before it did."""
REQUIREMENTS: Final = (
    {"key": "app", "operator": "In", "values": ["a"]},
    {"key": "app", "operator": "In", "values": []},
    {"key": "app", "operator": "NotIn", "values": ["a", "a"]},
    {"key": "app", "operator": "NotIn"},
    {"key": "app", "operator": "Exists", "values": []},
    {"key": "app", "operator": "DoesNotExist", "values": None},
    {"key": "app", "operator": "Exists", "values": ["a"]},
    {"key": "app", "operator": "exists"},
    {"key": "", "operator": "Exists"},
    {"operator": "Exists"},
    None,
)
BLOCKS: Final[tuple[Spec, ...]] = (
    {"cidr": "10.0.0.0/8"},
    {"cidr": "10.1.2.3/8"},
    {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.2.0.0/16"]},
    {"cidr": "10.0.0.0/8", "except": None},
    {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]},
    {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]},
    {"cidr": "10.0.0.0/8", "except": ["fd00::/16"]},
    {"cidr": "10.0.0.1"},
    {"cidr": "10.0.0.0/33"},
    {"cidr": "10.0.0.0/-1"},
    {"cidr": "10.0.0.0/255.0.0.0"},
    {"cidr": "10.0.0/8"},
    {"cidr": " 10.0.0.0/8"},
    {"cidr": "0.0.0.0/0"},
    {"cidr": "::/0"},
    {"cidr": "fd00::1/64"},
    {"cidr": "fe80::1%eth0/64"},
    {"cidr": ""},
    {},
)
PORTS: Final[tuple[Spec | None, ...]] = (
    {},
    None,
    {"port": 80},
    {"port": "80"},
    {"port": "http"},
    {"port": "Http"},
    {"port": "a--b"},
    {"port": "-a"},
    {"port": "a1-2"},
    {"port": "123456789012345a"},
    {"port": ""},
    {"port": 0},
    {"port": 65536},
    {"port": None},
    {"protocol": "UDP"},
    {"protocol": "SCTP", "port": 9},
    {"protocol": "ICMP"},
    {"protocol": "tcp", "port": 9},
    {"protocol": None, "port": 9},
    {"protocol": ""},
    {"port": 80, "endPort": 90},
    {"port": 80, "endPort": 80},
    {"port": 80, "endPort": 79},
    {"port": 80, "endPort": None},
    {"port": "http", "endPort": 90},
    {"endPort": 90},
)
TYPES: Final[tuple[list[Any] | None, ...]] = (
    None,
    [],
    ["Ingress"],
    ["Egress"],
    ["Ingress", "Egress"],
    ["Egress", "Egress"],
    ["Ingress", "Egress", "Ingress"],
    ["ingress"],
    [None],
)


def selectors() -> list[Spec | None]:
    labels = [{"matchLabels": labels} for labels in LABELS]
    return [None, {}, *labels, *({"matchExpressions": [one]} for one in REQUIREMENTS), {"matchExpressions": None}]


def specs() -> Iterator[Spec]:
    """Each oddity by itself, and as many together at random."""
    rules: list[Spec | None] = [{}, None, {"from": [], "ports": []}, {"from": None, "ports": None}, {"from": [{}]}]
    rules += [{"from": [None]}, {"from": [{"podSelector": None}]}]
    rules += [{"from": [{"podSelector": one}]} for one in selectors()]
    rules += [{"from": [{"namespaceSelector": one, "podSelector": {}}]} for one in selectors()]
    rules += [{"from": [{"ipBlock": one}]} for one in BLOCKS]
    rules += [{"from": [{"ipBlock": BLOCKS[0], "podSelector": {}}]}, {"from": [{"ipBlock": None, "podSelector": {}}]}]
    rules += [{"ports": [one]} for one in PORTS]
    for rule in rules:
        yield {**EVERYONE, "ingress": [rule]}
        if rule is not None and "from" in rule:
            yield {**EVERYONE, "egress": [{"to": rule["from"]}]}
    for selector in selectors():
        yield {"podSelector": selector, "policyTypes": ["Ingress"]}
    ways_out: list[list[Spec] | None] = [None, [], [{}]]
    for types in TYPES:
        for egress in ways_out:
            yield {**EVERYONE, "policyTypes": types, "egress": egress, "ingress": [{}]}
    yield {}
    yield {"ingress": None, **EVERYONE}
    draw = random.Random(7)
    for _ in range(100):
        yield {
            "podSelector": draw.choice(selectors()),
            "policyTypes": draw.choice(TYPES),
            "ingress": [
                {"from": [{"ipBlock": draw.choice(BLOCKS)}, {"podSelector": {}}], "ports": [draw.choice(PORTS)]},
                draw.choice(rules),
            ],
        }


def understood(body: Spec) -> tuple[Policy, ...] | str:
    """What we make of it. That directions are written is no difference: the API server does it where nobody has."""
    try:
        read = read_one(convert("networking.k8s.io/v1", "NetworkPolicy", body))
        return tuple(replace(policy, hangs_on_rules=False) for policy in read)
    except msgspec.ValidationError as error:
        return f"refused: {error}"


def test_what_the_api_server_takes_is_taken_and_means_the_same_and_no_more(apiserver: KubeApiServer) -> None:
    apiserver.post("/api/v1/namespaces", {"metadata": {"name": "policies"}})
    path = "/apis/networking.k8s.io/v1/namespaces/policies/networkpolicies"
    outcomes: Counter[object] = Counter()
    differences = []
    for number, spec in zip(itertools.count(), specs(), strict=False):
        body = {"kind": "NetworkPolicy", "metadata": {"name": f"np-{number}", "namespace": "policies"}, "spec": spec}
        ours = understood(body)
        try:
            kept = understood({**apiserver.post(path, body), "kind": "NetworkPolicy"})
        except RuntimeError as error:
            kept = f"refused: {error}"
            is_ours_to_judge = any(code in kept for code in (": 422:", ": 400:"))
            outcomes["neither"] += not is_ours_to_judge
        outcomes[isinstance(kept, tuple)] += 1
        if isinstance(kept, tuple) != isinstance(ours, tuple) or (isinstance(kept, tuple) and kept != ours):
            differences.append((spec, ours, kept))
    assert differences == []
    assert outcomes["neither"] == 0
    assert min(outcomes[True], outcomes[False]) > 30
