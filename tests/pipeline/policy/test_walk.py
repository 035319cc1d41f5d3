"""One connection walked rule by rule says what the engine says of many, with the part that missed in words."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from pipeline.attribution.policies import compile_policies
from pipeline.attribution.policies.terms import Direction
from pipeline.inventory import snapshot
from pipeline.inventory.addresses import parse
from pipeline.inventory.models import convert
from pipeline.policy.parties import namespaces_of, party_of
from pipeline.policy.walk import Question, came_near, walk
from tests.pipeline.attribution.policies.clusters import Draw
from tests.pipeline.policy.pairs import pairs_of

PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132, "ICMP": 1}
DIRECTIONS: tuple[tuple[Direction, str], ...] = (("egress", "egress"), ("ingress", "ingress_policy"))


@pytest.mark.parametrize("seed", range(60))
def test_the_walk_and_the_engine_agree(seed: int) -> None:
    """Verdicts and responsible policies, in order, of random policies of all kinds."""
    draw = Draw(seed)
    objects = [convert(item["apiVersion"], item["kind"], item) for item in draw.objects()]
    cluster = snapshot.build(objects)
    policies = compile_policies(objects, cluster)
    connections = [(s.ip, d.ip, PROTOCOLS[protocol], port) for s, d, protocol, port in draw.connections(40)]
    pairs = pairs_of(cluster, connections)
    namespaces = namespaces_of(objects)
    answers = policies.judge(pairs)
    for asked, pair, answer in zip(
        connections, pairs.iter_rows(named=True), answers.iter_rows(named=True), strict=True
    ):
        question = Question(
            party_of(cluster, pair["src_id"], parse(asked[0]), namespaces),
            party_of(cluster, pair["dst_id"], parse(asked[1]), namespaces),
            asked[2],
            asked[3],
        )
        for direction, column in DIRECTIONS:
            told = walk(policies, direction, question)
            assert (told.verdict, told.policies) == (answer[column]["verdict"], answer[column]["policies"]), asked


def cluster_with(*rules: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """Two pods in `shop`, `web` and `db`, and one NetworkPolicy that isolates `db`."""
    pods = [
        {
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}},
            "spec": {"nodeName": "n", "containers": [{"ports": [{"name": "sql", "containerPort": 5432}]}]},
            "status": {"phase": "Running", "podIP": ip},
        }
        for name, ip in (("web", "10.0.0.1"), ("db", "10.0.0.2"))
    ]
    policy = {
        "kind": "NetworkPolicy",
        "metadata": {"name": "guard", "namespace": "shop"},
        "spec": {"podSelector": {"matchLabels": {"app": "db"}}, "ingress": list(rules)},
    }
    objects = [convert("v1", "Pod", pod) for pod in pods] + [convert("networking.k8s.io/v1", "NetworkPolicy", policy)]
    cluster = snapshot.build(objects)
    return cluster, compile_policies(objects, cluster), namespaces_of(objects)


def near(port: int, *rules: dict[str, Any]) -> list[str]:
    """What came near for web to db."""
    cluster, policies, namespaces = cluster_with(*rules)
    ids = {row["name"]: row["id"] for row in cluster.endpoints.filter(pl.col("kind") == "Pod").iter_rows(named=True)}
    question = Question(
        party_of(cluster, ids["web"], parse("10.0.0.1"), namespaces),
        party_of(cluster, ids["db"], parse("10.0.0.2"), namespaces),
        6,
        port,
    )
    told = walk(policies, "ingress", question)
    assert told.verdict == "denied"
    (step,) = told.steps
    return [came_near(rule) for rule in step.rules]


def test_a_port_that_missed_is_told() -> None:
    peers = {"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}
    (said,) = near(80, {**peers, "ports": [{"port": "sql"}]})
    assert said == (
        "came near: the peer fits (pods of namespace shop with app=web), "
        "the port does not (sql is TCP 5432 at the destination, not TCP 80)"
    )
    (said,) = near(80, {**peers, "ports": [{"port": 5000, "endPort": 5999}]})
    assert "TCP 5000-5999, not TCP 80" in said


def test_a_peer_that_missed_is_told_with_the_label() -> None:
    port = {"ports": [{"port": 5432}]}
    said = near(
        5432,
        {"from": [{"podSelector": {"matchLabels": {"app": "api"}}}], **port},
        {"from": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}], **port},
        {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/24"]}}], **port},
        {"from": [{"podSelector": {"matchLabels": {"app": "api"}}}], "ports": [{"port": 1}]},
    )
    assert "the pod has app=web, wanted app=api" in said[0]
    assert "namespace shop has no label team, wanted team=a" in said[1]
    assert "10.0.0.1 is in 10.0.0.0/8, but in 10.0.0.0/24 too, which is excepted" in said[2]
    assert said[3] == ""
