"""Rules by what the record shows of them: unused, moot, or far wider than anything that was seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.inventory.models import Resource
from pipeline.policy.ends import judged
from pipeline.policy.findings import LAST, findings
from pipeline.policy.record import record_of
from tests.pipeline.policy.histories import cluster, history, later, policy, seen

ROWS = [
    seen("web-1", "db-0", 5432),
    seen("web-2", "db-0", 5432, time=later(1)),
    seen("198.51.100.7", "db-0", 5432),
    seen("198.51.100.8", "db-0", 5432),
]
WEB = {"podSelector": {"matchLabels": {"app": "web"}}}


def found(*policies: Resource, rows: Sequence[dict[str, Any]] = ROWS) -> dict[tuple[str, str], dict[str, Any]]:
    _, known, compiled = cluster(*policies)
    pairs = judged(record_of(history(*rows)).pairs, known).pairs
    return {(row["name"], row["rule"]): row for row in findings(compiled, known, pairs).to_dicts()}


def test_a_rule_that_matched_nothing_is_unused() -> None:
    rows = found(
        policy("a", ingress=[{"from": [WEB], "ports": [{"port": "sql"}]}, {"from": [WEB], "ports": [{"port": 80}]}])
    )
    used, unused = rows["a", "1"], rows["a", "2"]
    assert (used["connections"], used["decided"], used["pairs"], used["last_seen"]) == (2, 2, 2, later(1))
    assert used["findings"] == []
    assert (unused["connections"], unused["last_seen"], unused["findings"]) == (0, None, ["unused"])


def test_a_rule_for_the_node_that_masqueraded_a_client_is_used() -> None:
    row = seen("198.51.100.7", "db-0", 5432, nat_src_ip="192.0.2.77")
    allow = [{"from": [{"ipBlock": {"cidr": cidr}}]} for cidr in ("192.0.2.77/32", "198.51.100.7/32", "192.0.2.78/32")]
    rows = found(policy("a", ingress=[*allow, {}]), rows=[row])
    assert [rows["a", number]["connections"] for number in ("1", "2", "3", "4")] == [1, 1, 0, 1]


def test_a_rule_behind_another_is_used_but_shadowed() -> None:
    rule = {"from": [WEB], "ports": [{"port": 5432}]}
    rows = found(policy("a", ingress=[rule]), policy("b", ingress=[rule]))
    second = rows["b", "1"]
    assert (second["connections"], second["findings"]) == (2, ["shadowed"])
    assert second["shadowed_by"] == ["NetworkPolicy shop/a rule 1"]


def test_with_its_last_egress_rule_a_policy_that_names_no_directions_opens_the_way_out() -> None:
    """The API's default of policyTypes: Egress only where there are egress rules."""
    rule: dict[str, Any] = {"to": [WEB], "ports": [{"port": 1}]}
    used: dict[str, Any] = {"to": [{"podSelector": {}}]}
    rows = found(
        policy("a", egress=[rule, rule]),
        policy("b", egress=[rule], policyTypes=["Egress"]),
        policy("c", egress=[rule, used]),
        policy("d", ingress=[{"from": [WEB], "ports": [{"port": 1}]}]),
    )
    assert {key for key, row in rows.items() if LAST in row["findings"]} == {("a", "1"), ("a", "2")}


def test_a_range_says_how_much_of_it_was_used() -> None:
    rows = found(policy("a", ingress=[{"from": [{"ipBlock": {"cidr": "198.51.96.0/20"}}], "ports": [{"port": 5432}]}]))
    row = rows["a", "1"]
    assert (row["addresses_allowed"], row["addresses_used"]) == (4096, 2)
    assert row["findings"] == ["2 of 4096 addresses used"]


def test_a_range_without_what_is_excepted() -> None:
    block = {"cidr": "198.51.96.0/20", "except": ["198.51.96.0/21"]}
    row = found(policy("a", ingress=[{"from": [{"ipBlock": block}], "ports": [{"port": 5432}]}]))["a", "1"]
    assert row["addresses_allowed"] == 2048


def test_peers_and_ports_say_how_many_of_them_were_used() -> None:
    every = policy(
        "a",
        podSelector={"matchLabels": {"app": "db"}},
        ingress=[{"from": [{"namespaceSelector": {}}], "ports": [{"port": 5000, "endPort": 5999}]}],
    )
    row = found(every)["a", "1"]
    assert (row["workloads_allowed"], row["workloads_used"]) == (4, 1)
    assert (row["ports_allowed"], row["ports_used"]) == (1000, 1)
    assert row["findings"] == ["1 of 4 workloads used", "1 of 1000 ports used"]


def test_a_rule_for_everybody_has_no_figures() -> None:
    row = found(policy("a", ingress=[{}]))["a", "1"]
    assert (row["addresses_allowed"], row["workloads_allowed"], row["ports_allowed"]) == (None, None, None)
    assert (row["connections"], row["findings"]) == (4, [])
