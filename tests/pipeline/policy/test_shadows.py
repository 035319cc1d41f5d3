"""Rules that do nothing can go, all at once, and no verdict changes; those that matter are not among them."""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import Any

import polars as pl
import pytest

from pipeline.attribution.policies import compile_policies
from pipeline.inventory import snapshot
from pipeline.inventory.models import Resource, convert
from pipeline.policy.shadows import SELECTS_NOTHING, SHADOWED, TOO_MANY, shadows
from pipeline.policy.usage import rules_of
from tests.pipeline.attribution.policies.clusters import PORTS, Draw
from tests.pipeline.attribution.policies.oracle import Object
from tests.pipeline.policy.pairs import pairs_of

NUMBERS = (1, 6, 17, 132)


def resources(objects: list[Object]) -> list[Resource]:
    return [convert(item["apiVersion"], item["kind"], item) for item in objects]


def every_connection(draw: Draw) -> list[tuple[str, str, int, int]]:
    """Between all ends, on every port that policies may mention and one beside it."""
    ips = [end.ip for end in draw.ends()]
    return [
        (src, dst, protocol, port)
        for src in ips
        for dst in ips
        for protocol in NUMBERS
        for port in (*PORTS, 60, 8080)
        if (":" in src) == (":" in dst)
    ]


def without(objects: list[Object], rules: pl.DataFrame) -> list[Object]:
    """The objects without these rules; `place` is a rule's among those of its policy and direction."""
    left = copy.deepcopy(objects)
    gone: defaultdict[tuple[Any, ...], set[int]] = defaultdict(set)
    for row in rules.iter_rows(named=True):
        gone[row["kind"], row["namespace"], row["name"], row["direction"]].add(row["place"])
    for item in left:
        for direction in ("ingress", "egress"):
            metadata = item["metadata"]
            places = gone.get((item["kind"], metadata.get("namespace"), metadata["name"], direction))
            if places:
                spec = item["spec"]
                types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
                spec[direction] = [rule for place, rule in enumerate(spec[direction]) if place not in places]
                if item["kind"] == "NetworkPolicy":
                    spec["policyTypes"] = types
    return left


def found(objects: list[Object]) -> pl.DataFrame:
    """Rules with a finding, each with its place among those of its policy and direction."""
    parsed = resources(objects)
    cluster = snapshot.build(parsed)
    policies = compile_policies(parsed, cluster)
    keys = ["direction", "kind", "namespace", "name"]
    rules = rules_of(policies).with_columns(place=pl.int_range(pl.len()).over(keys))
    return rules.join(shadows(policies, cluster), on=["direction", "number"], how="inner", maintain_order="left")


@pytest.mark.parametrize("seed", range(40))
def test_all_that_is_found_can_go_at_once(seed: int) -> None:
    draw = Draw(seed)
    objects = draw.objects()
    idle = found(objects)
    assert TOO_MANY not in idle["finding"].to_list()
    connections = every_connection(draw)

    def verdicts(items: list[Object]) -> list[str]:
        parsed = resources(items)
        cluster = snapshot.build(parsed)
        return compile_policies(parsed, cluster).judgement(pairs_of(cluster, connections)).rows["verdict"].to_list()

    assert verdicts(without(objects, idle)) == verdicts(objects)


def test_the_random_sets_have_all_findings() -> None:
    """Else the test above would have nothing to remove."""
    findings = [row for seed in range(40) for row in found(Draw(seed).objects())["finding"]]
    assert findings.count(SHADOWED) > 20
    assert findings.count(SELECTS_NOTHING) > 5


def pod(name: str, ip: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}},
        "spec": {"nodeName": "n"},
        "status": {"phase": "Running", "podIP": ip},
    }


def policy(name: str, *rules: Object, types: tuple[str, ...] = ("Ingress",)) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"podSelector": {}, "policyTypes": list(types), "ingress": list(rules)},
    }


PODS = [pod("web", "10.0.0.1"), pod("db", "10.0.0.2")]
FROM_WEB = {"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": 80}]}


def names(objects: list[Object]) -> list[tuple[str, str, list[int]]]:
    return list(found(objects).select("name", "finding", "shadowed_by").iter_rows())


def test_of_two_equal_rules_one_stays() -> None:
    assert names([*PODS, policy("a", FROM_WEB), policy("b", FROM_WEB)]) == [("b", SHADOWED, [0])]


def test_two_rules_may_cover_a_third_between_them() -> None:
    low = {"from": FROM_WEB["from"], "ports": [{"port": 1, "endPort": 100}]}
    high = {"from": FROM_WEB["from"], "ports": [{"port": 101, "endPort": 200}]}
    middle = {"from": FROM_WEB["from"], "ports": [{"port": 90, "endPort": 110}]}
    assert names([*PODS, policy("a", low), policy("b", high), policy("c", middle)]) == [("c", SHADOWED, [0, 1])]
    beyond = {"from": FROM_WEB["from"], "ports": [{"port": 90, "endPort": 201}]}
    assert names([*PODS, policy("a", low), policy("b", high), policy("c", beyond)]) == [("b", SHADOWED, [2])]


def test_a_range_of_addresses_is_not_covered_by_the_pods_that_have_some_of_them() -> None:
    block = {"from": [{"ipBlock": {"cidr": "10.0.0.1/32"}}], "ports": [{"port": 80}]}
    assert names([*PODS, policy("a", FROM_WEB), policy("b", block)]) == [("a", SHADOWED, [1])]


def test_peers_that_are_not_there_are_told() -> None:
    nobody = {"from": [{"podSelector": {"matchLabels": {"app": "gone"}}}]}
    assert names([*PODS, policy("a", nobody)]) == [("a", SELECTS_NOTHING, [])]
