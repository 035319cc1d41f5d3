"""Suggested policies: what they name and what they never name, valid, replayed, and the same every time."""

from __future__ import annotations

import random
from typing import Any

import kubernetes_validate
import polars as pl
import pytest
import yaml

from pipeline.attribution.policies import compile_policies
from pipeline.inventory import snapshot
from pipeline.inventory.models import Resource, convert
from pipeline.policy import legitimate, manifest
from pipeline.policy.ends import judged
from pipeline.policy.record import record_of
from pipeline.policy.replay import Replay, replay
from pipeline.policy.selectors import stable
from pipeline.policy.suggestion import SuggestedPolicy, suggest
from tests.pipeline.policy.histories import NODE_IP, cluster, history, policy, seen

ROWS = [
    seen("web-1", "db-0", 5432),
    seen("web-0", "db-0", 5432),
    seen("web-1", "198.51.100.1", 443),
    seen("web-2", "198.51.100.2", 443),
    seen("web-1", "dns-1", 53, protocol=17),
    seen("job-9", "db-0", 5432, outcome="no_reply"),
    seen("n1", "web-1", 8080),
    seen("203.0.113.5", "web-1", 8080),
]


def pairs_of(
    rows: list[dict[str, Any]], *policies: Resource, **options: Any
) -> tuple[pl.DataFrame, list[Resource], Any]:
    objects, known, compiled = cluster(*policies)
    found = judged(record_of(history(*rows)).pairs, known).pairs
    return legitimate.sorted_out(found, compiled, **options), objects, known


def suggested(
    rows: list[dict[str, Any]], namespace: str = "shop", **options: Any
) -> tuple[list[SuggestedPolicy], Replay]:
    pairs, objects, known = pairs_of(rows, **options)
    policies = suggest(known, pairs, namespace)
    return policies, replay(objects, known, pairs, policies)


def test_what_a_pods_own_node_says_needs_no_rule() -> None:
    """A kubelet's probes are let in always, and a rule for them would let in more than they need."""
    pairs, _, _ = pairs_of([seen("n1", "web-1", 8080, destination_node="n1")])
    assert pairs["left_out"].to_list() == [legitimate.OWN_NODE]


def peers(policies: list[SuggestedPolicy], name: str, direction: str) -> list[tuple[str, Any]]:
    """Each rule's peers, as a word and what it names, and its ports."""
    (found,) = [item for item in policies if item.name == name]
    told: list[tuple[str, Any]] = []
    for rule in getattr(found, direction):
        ports = [f"{port['protocol']}/{port['port']}" for port in rule.body["ports"]]
        for peer in rule.body["from" if direction == "ingress" else "to"]:
            if "ipBlock" in peer:
                told.append((peer["ipBlock"]["cidr"], ports))
            else:
                labels = {**peer["namespaceSelector"]["matchLabels"], **peer["podSelector"]["matchLabels"]}
                told.append((" ".join(labels.values()), ports))
    return told


def test_a_workload_gets_a_rule_a_peer_by_lasting_labels_and_named_ports() -> None:
    policies, _ = suggested(ROWS)
    assert [(item.name, dict(item.labels)) for item in policies] == [
        ("allow-db", {"app": "db"}),
        ("allow-web", {"app": "web"}),
    ]
    assert peers(policies, "allow-db", "ingress") == [("shop web", ["TCP/sql"])]
    assert peers(policies, "allow-db", "egress") == []
    assert peers(policies, "allow-web", "egress") == [
        ("198.51.100.1/32", ["TCP/443"]),
        ("198.51.100.2/32", ["TCP/443"]),
        ("kube-system kube-dns", ["TCP/53", "UDP/dns"]),
        ("shop db", ["TCP/sql"]),
    ]
    assert peers(policies, "allow-web", "ingress") == [
        ("203.0.113.5/32", ["TCP/8080"]),
        (f"{NODE_IP}/32", ["TCP/8080"]),
    ]


def test_evidence_counts_what_was_answered() -> None:
    policies, _ = suggested(ROWS)
    (rule,) = policies[0].ingress
    assert (rule.evidence.connections, rule.evidence.callers) == (2, ("shop/web",))


def test_replay_lets_through_what_is_legitimate_and_stops_the_rest() -> None:
    _, result = suggested(ROWS)
    assert (result.passed, result.cut.height) == (7, 0)
    assert result.stopped["source_name"].to_list() == ["job-9"]


def test_replay_finds_what_a_suggestion_forgot() -> None:
    pairs, objects, known = pairs_of(ROWS)
    policies = suggest(known, pairs.filter(pl.col("port") != 443), "shop")
    assert replay(objects, known, pairs, policies).cut["port"].to_list() == [443, 443]


def test_a_way_out_needs_names_and_none_needs_none() -> None:
    policies, _ = suggested([seen("web-1", "db-0", 5432)])
    assert ("kube-system kube-dns", ["TCP/53", "UDP/dns"]) in peers(policies, "allow-web", "egress")
    assert peers(policies, "allow-db", "egress") == []


def test_a_pod_that_reached_itself_may_reach_the_others_of_its_workload() -> None:
    policies, _ = suggested([seen("web-1", "web-1", 8080)])
    assert ("shop web", ["TCP/8080"]) in peers(policies, "allow-web", "ingress")


def test_workloads_that_are_called_alike_get_a_policy_each() -> None:
    """Two of one name would be one object to the API server, and the pods of one workload stand open."""
    objects: list[Resource] = []
    for place, kind in enumerate(("DaemonSet", "StatefulSet"), start=1):
        owner = {"kind": kind, "name": "web", "controller": True}
        metadata = {"name": f"web-{kind}", "namespace": "shop", "labels": {"kind": kind}, "ownerReferences": [owner]}
        status = {"phase": "Running", "podIP": f"10.0.0.{place}"}
        objects.append(convert("v1", "Pod", {"kind": "Pod", "metadata": metadata, "status": status}))
    known = snapshot.build(objects)
    rows = [
        seen("198.51.100.7", f"web-{place}", 80)
        | {"destination_name": f"web-{kind}", "destination_workload_kind": kind, "destination_workload": "web"}
        for place, kind in enumerate(("DaemonSet", "StatefulSet"), start=1)
    ]
    pairs = judged(record_of(history(*rows)).pairs, known).pairs
    found = suggest(known, legitimate.sorted_out(pairs, compile_policies(objects, known)), "shop")
    assert [(item.name, dict(item.labels)) for item in found] == [
        ("allow-web", {"kind": "DaemonSet"}),
        ("allow-web-2", {"kind": "StatefulSet"}),
    ]


def test_what_others_deny_is_neither_cut_nor_let_through() -> None:
    guard = policy("guard", "batch", policyTypes=["Egress"])
    pairs, objects, known = pairs_of([seen("job-9", "db-0", 5432)], guard, include=("denied",))
    result = replay(objects, known, pairs, suggest(known, pairs, "shop"))
    assert (result.passed, result.cut.height, result.denied_still["counted"].to_list()) == (0, 0, [1])


def test_the_nodes_dns_cache_is_named_by_its_own_address() -> None:
    """It is the node's, and a rule for nodes would let a pod ask every one of them."""
    policies, _ = suggested([seen("web-1", "n1", 53, protocol=17, backend_ip="169.254.20.10")])
    assert peers(policies, "allow-web", "egress") == [("169.254.20.10/32", ["TCP/53", "UDP/53"])]


def test_what_a_node_masqueraded_comes_from_the_nodes() -> None:
    policies, _ = suggested([seen("203.0.113.5", "web-1", 8080, nat_src_ip="192.0.2.77")])
    assert peers(policies, "allow-web", "ingress") == [
        ("203.0.113.5/32", ["TCP/8080"]),
        (f"{NODE_IP}/32", ["TCP/8080"]),
        ("192.0.2.77/32", ["TCP/8080"]),
    ]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ((), (), [legitimate.DENIED, legitimate.FAILED, None, legitimate.NO_PORTS, legitimate.FAILED]),
        (("refused",), (), [legitimate.DENIED, None, None, legitimate.NO_PORTS, legitimate.FAILED]),
        (("no_reply",), (), [legitimate.DENIED, legitimate.FAILED, None, legitimate.NO_PORTS, None]),
        (("no_reply/udp",), (), [legitimate.DENIED, legitimate.FAILED, None, legitimate.NO_PORTS, None]),
        (("denied",), (), [None, legitimate.FAILED, None, legitimate.NO_PORTS, legitimate.FAILED]),
        (
            (),
            ("shop/web",),
            [legitimate.DENIED, *[legitimate.RULED_OUT] * 2, legitimate.NO_PORTS, legitimate.RULED_OUT],
        ),
    ],
)
def test_what_is_legitimate(include: tuple[str, ...], exclude: tuple[str, ...], expected: list[str | None]) -> None:
    guard = policy("guard", podSelector={"matchLabels": {"app": "db"}}, ingress=[{"ports": [{"port": 1}]}])
    rows = [
        seen("job-9", "db-0", 2),
        seen("job-9", "web-1", 3, outcome="refused"),
        seen("job-9", "web-1", 4),
        seen("job-9", "web-1", 5, protocol=1),
        seen("web-1", "dns-1", 6, protocol=17, outcome="no_reply"),
    ]
    pairs, _, _ = pairs_of(rows, guard, include=include, exclude=exclude)
    assert pairs.sort("port")["left_out"].to_list() == expected


def test_the_text_is_valid_and_what_was_judged_and_always_the_same() -> None:
    policies, _ = suggested(ROWS)
    text = manifest.rendered(policies, ["a remark"], [manifest.deny_all("shop")])
    objects = [item for item in yaml.safe_load_all(text) if item]
    assert objects == [*(item.manifest for item in policies), manifest.deny_all("shop")]
    for item in objects:
        kubernetes_validate.validate(item, "1.33", strict=True)
    assert text.startswith("# a remark\n---\n# StatefulSet db\n")
    assert "  # 2 connections, last seen 2026-03-01T12:00:00Z: shop/web\n" in text
    shuffled = random.Random(1).sample(ROWS, len(ROWS))
    assert manifest.rendered(suggested(shuffled)[0], ["a remark"], [manifest.deny_all("shop")]) == text


def test_labels_of_one_pod_revision_or_place_do_not_last() -> None:
    volatile = {
        "pod-template-hash": "1",
        "controller-revision-hash": "1",
        "pod-template-generation": "1",
        "statefulset.kubernetes.io/pod-name": "a-0",
        "apps.kubernetes.io/pod-index": "0",
        "batch.kubernetes.io/job-name": "a",
        "job-name": "a",
        "controller-uid": "a",
        "topology.kubernetes.io/zone": "a",
        "failure-domain.beta.kubernetes.io/region": "a",
        "helm.sh/chart": "a-1.2.3",
    }
    assert stable({**volatile, "app": "a", "app.kubernetes.io/name": "a"}) == {
        "app": "a",
        "app.kubernetes.io/name": "a",
    }
