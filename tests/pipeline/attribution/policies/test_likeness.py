"""What policies cannot tell apart is one kind, and what they can is not."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.attribution.policies import Policies, compile_policies
from pipeline.inventory import snapshot
from pipeline.inventory.models import Resource, convert
from tests.pipeline.inventory.objects import pod

APPS = ("a", "b", "c", "d")


def policy(name: str, app: str | None, spec: dict[str, Any]) -> Resource:
    selector = {"podSelector": {"matchLabels": {"app": app}} if app else {}}
    body = {"kind": "NetworkPolicy", "metadata": {"name": name, "namespace": "shop"}, "spec": selector | spec}
    return convert("networking.k8s.io/v1", "NetworkPolicy", body)


def peer(app: str) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": {"app": app}}}


def kinds_of(*policies: Resource, named: str = "") -> tuple[dict[str, int], dict[str, int], Policies]:
    """The kind of each app's pod as a source and as a destination. The pod of the app `named` names its port."""
    pods: list[Resource] = [
        pod(app, f"10.0.0.{number}", labels={"app": app}) for number, app in enumerate(APPS, start=1)
    ]
    if named:
        spec = {"containers": [{"ports": [{"name": "web", "containerPort": 8080}]}]}
        metadata = {"name": "named", "namespace": "shop", "labels": {"app": named}}
        body = {"kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": "Running", "podIP": "10.0.0.9"}}
        pods.append(convert("v1", "Pod", body))
    objects = [*pods, *policies]
    cluster = snapshot.build(objects)
    compiled = compile_policies(objects, cluster)
    names = cluster.endpoints["name"].to_list()
    identity = {name: compiled.identities.of_endpoint[names.index(name)] for name in names if name in {*APPS, "named"}}
    sources, destinations = compiled.likeness.sources, compiled.likeness.destinations
    return (
        {name: int(sources[number]) for name, number in identity.items()},
        {name: int(destinations[number]) for name, number in identity.items()},
        compiled,
    )


def test_workloads_that_no_rule_tells_apart_are_one_kind() -> None:
    rules = policy("in", "a", {"policyTypes": ["Ingress"], "ingress": [{"from": [peer("b"), peer("c")]}]})
    sources, destinations, compiled = kinds_of(rules)
    assert sources["b"] == sources["c"] != sources["d"] == sources["a"]
    assert destinations["b"] == destinations["c"] == destinations["d"] != destinations["a"]
    assert len(set(compiled.identities.of_endpoint.tolist())) > len(set(sources.values()))


@pytest.mark.parametrize("direction", ["Ingress", "Egress"])
def test_who_is_selected_by_other_policies_is_another_kind(direction: str) -> None:
    """Both deny all, but different policies are responsible."""
    sources, destinations, _ = kinds_of(*(policy(f"deny-{app}", app, {"policyTypes": [direction]}) for app in "ab"))
    selected, others = (sources, destinations) if direction == "Egress" else (destinations, sources)
    assert len({selected[app] for app in "abc"}) == 3
    assert selected["c"] == selected["d"]
    assert len(set(others.values())) == 1


def test_a_port_that_has_a_name_tells_destinations_apart() -> None:
    rules = policy("in", None, {"policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": "web"}]}]})
    sources, destinations, compiled = kinds_of(rules, named="d")
    assert destinations["named"] != destinations["d"] == destinations["a"]
    assert len(set(sources.values())) == 1
    assert compiled.likeness.ports.count == 3  # before, the port, behind


def test_policies_that_are_not_judged_tell_their_namespace_apart() -> None:
    metadata = {"name": "x", "namespace": "shop"}
    strange = convert("cilium.io/v2", "CiliumNetworkPolicy", {"kind": "CiliumNetworkPolicy", "metadata": metadata})
    sources, _, compiled = kinds_of(strange)
    assert sources["a"] != compiled.likeness.sources[0]
