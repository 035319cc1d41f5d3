"""Coverage: pods that are isolated, namespaces that deny by default, traffic by what it stands on."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.inventory.models import Resource, convert
from pipeline.policy.coverage import by_namespace, by_workload, default_denies, isolation
from pipeline.policy.ends import judged
from pipeline.policy.record import record_of
from tests.pipeline.policy.histories import cluster, history, policy, seen

GUARD_DB = policy(
    "guard",
    podSelector={"matchLabels": {"app": "db"}},
    ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}],
)
ROWS = [
    seen("web-1", "db-0", 5432),
    seen("job-9", "db-0", 5432),
    seen("web-1", "198.51.100.1", 443),
    seen("198.51.100.1", "web-2", 80),
]


def rows(*policies: Resource) -> dict[str, dict[str, Any]]:
    objects, known, compiled = cluster(*policies)
    pairs = judged(record_of(history(*ROWS)).pairs, known).pairs
    return {row["workload"]: row for row in by_workload(objects, known, compiled, pairs).to_dicts()}


def test_isolated_pods_by_direction() -> None:
    _, known, compiled = cluster(GUARD_DB, policy("out", "batch", policyTypes=["Egress"]))
    told = isolation(known, compiled)
    assert told.select("workload", "pods", "isolated_ingress", "isolated_egress").rows() == [
        ("job-9", 1, 0, 1),
        ("dns", 1, 0, 0),
        ("web", 2, 0, 0),
        ("db", 1, 1, 0),
    ]


def test_bytes_stand_on_a_rule_on_nothing_or_are_denied() -> None:
    told = rows(GUARD_DB)
    db, web = told["db"], told["web"]
    assert (db["ingress_explicit_bytes"], db["ingress_denied_bytes"], db["ingress_unprotected_bytes"]) == (150, 150, 0)
    assert (web["ingress_unprotected_bytes"], web["egress_unprotected_bytes"]) == (150, 300)


@pytest.mark.parametrize("selector", [{}, {"matchLabels": {}}, {"matchExpressions": []}])
def test_an_empty_selector_selects_every_pod_however_it_is_written(selector: dict[str, Any]) -> None:
    deny = policy("deny", podSelector=selector, policyTypes=["Ingress"])
    assert default_denies([deny], ["shop"]).rows() == [("shop", True, False)]


def test_what_is_selected_and_nobody_decides_stands_on_the_default() -> None:
    spec = {
        "priority": 1,
        "subject": {"namespaces": {}},
        "ingress": [{"action": "Deny", "from": [{"namespaces": {"matchLabels": {"no": "body"}}}]}],
    }
    admin = convert(
        "policy.networking.k8s.io/v1alpha1",
        "AdminNetworkPolicy",
        {"kind": "AdminNetworkPolicy", "metadata": {"name": "a"}, "spec": spec},
    )
    assert rows(admin)["db"]["ingress_default_bytes"] == 300


def test_all_bytes_of_an_end_are_under_one_basis() -> None:
    for row in rows(GUARD_DB, policy("deny-all", policyTypes=["Ingress", "Egress"])).values():
        total = sum(value for key, value in row.items() if key.endswith("_bytes"))
        assert total == {"db": 300, "web": 450, "job-9": 150, "dns": 0}[row["workload"]]


def test_a_default_deny_selects_every_pod_and_allows_nothing() -> None:
    policies = [
        policy("deny", "shop", policyTypes=["Ingress", "Egress"]),
        policy("in", "batch", policyTypes=["Ingress"]),
        policy("some", "kube-system", ingress=[{}]),
        GUARD_DB,
    ]
    assert default_denies(policies, ["shop", "batch", "kube-system"]).rows() == [
        ("batch", True, False),
        ("kube-system", False, False),
        ("shop", True, True),
    ]


def test_namespaces_sum_their_workloads() -> None:
    objects, known, compiled = cluster(GUARD_DB)
    pairs = judged(record_of(history(*ROWS)).pairs, known).pairs
    shop = by_namespace(by_workload(objects, known, compiled, pairs)).filter(namespace="shop").row(0, named=True)
    assert (shop["pods"], shop["isolated_ingress"], shop["egress_unprotected_bytes"]) == (3, 1, 300)
    assert not shop["denies_ingress"]
