"""Policies over time: by the set in force at the start, judged once a pair, whatever came to be known in between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
import pytest

from pipeline.attribution.policies import PolicyTimeline, compile_policies, engine, timeline
from pipeline.attribution.policies.pairs import PAIR, Pairs, pairs_of
from pipeline.attribution.policies.side import REFERENCES
from pipeline.inventory import snapshot
from pipeline.inventory.history import PolicyEpoch
from pipeline.inventory.models import Namespace, Node, Pod, Resource, convert
from pipeline.inventory.snapshot import Snapshot
from pipeline.inventory.spans import BEGINNING
from tests.pipeline.attribution.policies.clusters import Draw
from tests.pipeline.attribution.policies.timelines import flows_of, known_until
from tests.pipeline.inventory.objects import node, pod, service

SECOND = 1_000_000_000
DENY_ALL = {"podSelector": {}, "policyTypes": ["Ingress"]}


def policy(name: str, spec: dict[str, Any], namespace: str = "shop") -> Resource:
    metadata = {"name": name, "namespace": namespace}
    body = {"kind": "NetworkPolicy", "metadata": metadata, "spec": spec}
    return convert("networking.k8s.io/v1", "NetworkPolicy", body)


def answers(policies: PolicyTimeline, judged: pl.DataFrame) -> list[tuple[Any, ...]]:
    """Verdict, and verdict and policies of both directions, as `compile_policies` says them."""
    book = policies.book.answers
    named = policies.book.references.select(REFERENCES.names())
    rows = []
    for verdict, *numbers in judged.select("verdict", "egress", "ingress_policy").iter_rows():
        sides = []
        for number in numbers:
            answer = book.row(number, named=True) if number is not None else None
            sides.append(answer and (answer["verdict"], [named.row(it, named=True) for it in answer["references"]]))
        rows.append((verdict, *sides))
    return rows


def expected(objects: Sequence[Resource], cluster: Snapshot, flows: pl.DataFrame) -> list[tuple[Any, ...]]:
    rows = compile_policies(objects, cluster).judge(flows).rows()
    return [(row[0], *(side and (side["verdict"], side["policies"]) for side in row[1:])) for row in rows]


def drawn(seed: int) -> list[Resource]:
    return [convert(item["apiVersion"], item["kind"], item) for item in Draw(seed).objects()]


def epochs_of(*sets: tuple[int, Sequence[Resource]]) -> list[PolicyEpoch]:
    return [PolicyEpoch(since, tuple(objects)) for since, objects in sets]


@pytest.mark.parametrize("seed", range(20))
def test_a_flow_is_judged_by_the_policies_in_force_when_it_began(seed: int) -> None:
    bodies, others = drawn(seed), drawn(seed + 1000)
    things = [item for item in bodies if isinstance(item, Pod | Node | Namespace)]
    before = [item for item in bodies if not isinstance(item, Pod | Node)]
    after = [item for item in others if not isinstance(item, Pod | Node)]
    cluster = snapshot.build(things)
    flows = flows_of(cluster, [(n * 7) % 20 * SECOND for n in range(80)], seed)
    policies = PolicyTimeline()
    policies.use(cluster, epochs_of((BEGINNING, before), (10 * SECOND, after)))
    got = answers(policies, policies.judge(flows))
    by_old, by_new = expected(before, cluster, flows), expected(after, cluster, flows)
    is_new = (flows["start"] >= 10 * SECOND).to_list()
    assert got == [new if late else old for late, old, new in zip(is_new, by_old, by_new, strict=True)]


@pytest.mark.parametrize("seed", range(20))
def test_endpoints_that_come_later_are_judged_as_if_they_had_been_there(seed: int) -> None:
    bodies = drawn(seed)
    cluster = snapshot.build(bodies)
    epochs = epochs_of((BEGINNING, [item for item in bodies if not isinstance(item, Pod | Node)]))
    policies = PolicyTimeline()
    for height in range(3, cluster.endpoints.height + 1):
        flows = flows_of(cluster, [0] * 40, seed, known=height)
        policies.use(known_until(cluster, height), epochs)
        assert answers(policies, policies.judge(flows)) == expected(bodies, cluster, flows)


def test_a_pod_alike_another_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pods = [pod(f"p{n}", f"10.0.0.{n}", labels={"app": "a", "job": str(n)}) for n in range(1, 9)]
    rules = policy("web", {"podSelector": {"matchLabels": {"app": "a"}}, "ingress": []})
    cluster = snapshot.build(pods)
    policies, epochs = PolicyTimeline(), epochs_of((BEGINNING, [rules]))
    policies.use(known_until(cluster, cluster.endpoints.height - 4), epochs)
    compiled = policies.current()

    def never(*_: object) -> None:
        raise AssertionError("tables were built anew")

    monkeypatch.setattr(engine, "compile_side", never)
    policies.use(cluster, epochs)
    assert policies.current() is not compiled
    flows = flows_of(cluster, [0] * 50, 1)
    assert set(policies.judge(flows)["verdict"].cast(pl.String)) == {"allowed", "denied"}


def test_a_question_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = snapshot.build([pod("a", "10.0.0.1"), pod("b", "10.0.0.2")])
    policies = PolicyTimeline()
    policies.use(cluster, epochs_of((BEGINNING, [policy("deny", DENY_ALL)])))
    flows = flows_of(cluster, [0] * 500, 3)
    asked: list[int] = []
    ask = engine.Policies.ask

    def counted(self: engine.Policies, pairs: Pairs) -> engine.Judgement:
        asked.append(len(pairs))
        return ask(self, pairs)

    monkeypatch.setattr(engine.Policies, "ask", counted)
    first, again = policies.judge(flows), policies.judge(flows)
    words = policies.current().packing.words(pairs_of(flows))
    assert asked == [len(set(map(tuple, words.tolist())))]
    assert asked[0] < flows.select(PAIR).n_unique()
    assert first.equals(again)


def test_changes_within_a_second_count_together_and_what_counted_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "MOST_COMPILED", 1)
    cluster = snapshot.build([pod("a", "10.0.0.1"), pod("b", "10.0.0.2")])
    deny = policy("deny", DENY_ALL)
    epochs = epochs_of((BEGINNING, []), (5 * SECOND, [deny]), (5 * SECOND + 10, []), (5 * SECOND + 20, [deny, deny]))
    pair = flows_of(cluster, [0] * 200, 1).filter(
        (pl.col("src_lo") == 0xFFFF0A000001) & (pl.col("backend_lo") == 0xFFFF0A000002)
    )
    starts = [5 * SECOND - 1, 5 * SECOND, 5 * SECOND + 15, 6 * SECOND - 1, 6 * SECOND]
    flows = pl.concat([pair.head(1).with_columns(start=pl.lit(start, pl.Int64)) for start in starts])
    seen = []
    for known in range(1, len(epochs) + 1):
        policies = PolicyTimeline()
        policies.use(cluster, epochs[:known])
        seen.append(policies.judge(flows)["verdict"].to_list())
    assert seen[1] == ["allowed", "denied", "denied", "denied", "denied"]
    assert seen[2] == ["allowed", "denied", "denied", "denied", "allowed"]
    assert seen[3] == ["allowed", "denied", "denied", "denied", "denied"]
    policies = PolicyTimeline()
    for known in range(1, len(epochs) + 1):
        policies.use(cluster, epochs[:known])
        assert policies.judge(flows)["verdict"].to_list() == seen[known - 1]


def test_a_change_costs_the_same_however_many_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of an hour of changes is held; what policies that are gone meant is not."""
    monkeypatch.setattr(timeline, "LEAST_READ", 10)
    looked = 0

    class Objects(tuple[Resource, ...]):
        def __iter__(self) -> Iterator[Resource]:
            nonlocal looked
            looked += len(self)
            return super().__iter__()

    cluster = snapshot.build(drawn(1))
    policies, held = PolicyTimeline(), []
    epochs: list[PolicyEpoch] = []
    for start in range(0, 300 * SECOND, SECOND):
        epochs = [*epochs[-100:], PolicyEpoch(start, Objects([policy(f"at-{start}", DENY_ALL)]))]
        policies.use(cluster, epochs)
        policies.judge(flows_of(cluster, [start], 1))
        held.append(len(policies._read))
    assert looked < 20 * 300  # and not 100 * 300
    assert max(held) < 3 * 101 + 10


def test_near_a_change_both_sets_must_agree() -> None:
    cluster = snapshot.build([pod("a", "10.0.0.1"), pod("b", "10.0.0.2")])
    policies = PolicyTimeline()
    policies.use(cluster, epochs_of((BEGINNING, []), (100 * SECOND, [policy("deny", DENY_ALL)])))
    starts = [second * SECOND for second in (80, 95, 99, 100, 105, 109, 111, 300)]
    pair = flows_of(cluster, [0] * 200, 1).filter(
        (pl.col("src_lo") == 0xFFFF0A000001) & (pl.col("backend_lo") == 0xFFFF0A000002)
    )
    flows = pl.concat([pair.head(1).with_columns(start=pl.lit(start, pl.Int64)) for start in starts])
    judged = policies.judge(flows)
    assert judged["verdict"].to_list() == ["allowed"] * 3 + ["denied"] * 5
    verdicts = judged["verdict"].to_physical().to_numpy()
    settled = policies.is_settled(pairs_of(judged), judged["start"].to_numpy(), verdicts, 10 * SECOND)
    assert settled.tolist() == [True, False, False, False, False, False, True, True]


def test_a_flow_to_a_service_whose_backend_is_not_known_has_no_verdict() -> None:
    cluster = snapshot.build([pod("a", "10.0.0.1"), service("web", "10.96.0.1")])
    policies = PolicyTimeline()
    policies.use(cluster, epochs_of((BEGINNING, [policy("deny", DENY_ALL)])))
    to_service = flows_of(cluster, [0] * 200, 1).filter(pl.col("backend_lo") == 0xFFFF0A600001)
    judged = policies.judge(to_service)
    assert judged.height > 0
    assert judged.select("verdict", "egress", "ingress_policy").null_count().row(0) == (judged.height,) * 3


def test_a_node_that_comes_to_be_known_is_judged_anew() -> None:
    bodies: list[Resource] = [node("n1", "192.0.2.1"), pod("a", "10.0.0.1", on="n1")]
    labelled = convert("v1", "Node", {"kind": "Node", "metadata": {"name": "n1", "labels": {"os": "linux"}}})
    spec = {
        "tier": "Admin",
        "priority": 1,
        "subject": {"namespaces": {}},
        "egress": [{"action": "Deny", "to": [{"nodes": {"matchLabels": {"os": "linux"}}}]}],
    }
    body = {"kind": "ClusterNetworkPolicy", "metadata": {"name": "no-nodes"}, "spec": spec}
    rules = convert("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", body)
    known = snapshot.build([bodies[0], bodies[1]])
    unknown = Snapshot(**{**vars(known), "subjects": [None, None, None, *known.subjects[3:]]})
    later = Snapshot(**{**vars(known), "subjects": [None, None, labelled, *known.subjects[3:]]})
    flows = flows_of(known, [0] * 100, 1).filter((pl.col("src_lo") == 0xFFFF0A000001) & (pl.col("dst_id") == 2))
    policies, epochs = PolicyTimeline(), epochs_of((BEGINNING, [rules]))
    policies.use(unknown, epochs)
    assert set(policies.judge(flows)["verdict"]) == {"allowed"}
    policies.use(later, epochs)
    assert set(policies.judge(flows)["verdict"]) == {"denied"}


def test_what_is_remembered_of_all_sets_together_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "MOST_HELD", 8)
    bodies = drawn(1)
    cluster = snapshot.build([item for item in bodies if isinstance(item, Pod | Node | Namespace)])
    rules = [item for item in bodies if not isinstance(item, Pod | Node | Namespace)]
    sets = [(number * 10 * SECOND or BEGINNING, rules[: number + 1]) for number in range(5)]
    policies = PolicyTimeline()
    policies.use(cluster, epochs_of(*sets))
    flows = flows_of(cluster, [number % 50 * SECOND for number in range(400)], 1)
    first = answers(policies, policies.judge(flows))
    held = [len(compiled.table) for compiled in policies._compiled.values()]
    assert len(held) == len(sets)
    assert sum(held[:-1]) <= 8 < held[-1] or sum(held) <= 8
    assert answers(policies, policies.judge(flows)) == first
