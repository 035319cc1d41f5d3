"""What a change of policies cuts and lets through: who, how much, by what, and how sure that is."""

from __future__ import annotations

from typing import Any

import polars as pl

from pipeline.attribution.policies import compile_policies
from pipeline.inventory import snapshot
from pipeline.inventory.models import Resource, convert
from pipeline.policy.ends import judged
from pipeline.policy.record import record_of
from pipeline.policy.whatif import by_workload, changed_pairs
from tests.pipeline.policy.histories import NODE_IP, cluster, history, later, policy, seen

DENY_ALL = policy("deny-all", policyTypes=["Ingress"])
FROM_WEB = policy(
    "from-web",
    podSelector={"matchLabels": {"app": "db"}},
    ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": "sql"}]}],
)
ROWS = [
    *(seen("web-1", "db-0", 5432, time=later(day)) for day in (0, 1, 2, 3)),
    seen("web-0", "db-0", 5432),
    seen("job-9", "db-0", 5432, outcome="no_reply"),
    seen("web-1", "198.51.100.1", 443),
    seen("198.51.100.7", "web-1", 80),
    seen("198.51.100.8", "web-1", 80),
]


def changes(before: list[Resource], after: list[Resource]) -> list[dict[str, Any]]:
    objects, known, _ = cluster()
    record = record_of(history(*ROWS))
    pairs = judged(record.pairs, known).pairs
    changed = changed_pairs(
        pairs, compile_policies([*objects, *before], known), compile_policies([*objects, *after], known)
    )
    return by_workload(changed, record).to_dicts()


def test_what_is_cut_is_told_by_workload_and_what_cuts_it() -> None:
    rows = changes([], [DENY_ALL])
    assert {row["change"] for row in rows} == {"cut"}
    assert {tuple(row["responsible"]) for row in rows} == {("NetworkPolicy shop/deny-all isolates",)}
    told = [(r["source_workload"], r["destination_workload"], r["port"], r["connections"], r["failed"]) for r in rows]
    assert told == [("web", "db", 5432, 5, 0), ("outside", "web", 80, 2, 0), ("job-9", "db", 5432, 1, 1)]
    web, outside, job = rows
    assert (web["bytes"], web["last_seen"], web["is_rare"], web["by_workload"]) == (750, later(3), False, 1)
    assert (outside["addresses"], outside["pairs"], outside["is_rare"]) == (2, 2, True)
    assert job["is_rare"]


def test_a_default_deny_cuts_no_probe_of_the_pods_own_node_whatever_became_of_the_pod() -> None:
    objects, known, _ = cluster()
    probe = {"source_name": "n9", "source_workload": "n9", "destination_node": "n9"}
    rows = [seen("n1", "web-1", 80, destination_node="n1"), seen("n1", "web-0", 80, **probe)]
    pairs = judged(record_of(history(*rows)).pairs, known).pairs
    before, after = (compile_policies([*objects, *more], known) for more in ([], [DENY_ALL]))
    assert changed_pairs(pairs, before, after).is_empty()


def test_a_probe_of_a_pod_that_moved_and_kept_its_name_comes_from_the_node_that_it_is_on() -> None:
    objects, _, _ = cluster()
    elsewhere = {"kind": "Node", "metadata": {"name": "n9"}}
    elsewhere["status"] = {"addresses": [{"type": "InternalIP", "address": "192.0.2.9"}]}
    objects = [*objects, convert("v1", "Node", elsewhere)]
    known = snapshot.build(objects)
    probe = {"source_name": "n9", "source_workload": "n9", "destination_node": "n9", "src_ip": "192.0.2.9"}
    pairs = judged(record_of(history(seen("n1", "db-0", 5432, **probe))).pairs, known).pairs
    before, after = (compile_policies([*objects, *more], known) for more in ([], [DENY_ALL]))
    assert changed_pairs(pairs, before, after).is_empty()


def test_what_a_node_masqueraded_is_cut_also_where_policies_see_the_node_alone() -> None:
    """The API leaves open which of both they see, and a gate must not pass what cuts on some dataplanes."""

    def allow(name: str, *cidrs: str) -> Resource:
        return policy(name, ingress=[{"from": [{"ipBlock": {"cidr": cidr}} for cidr in cidrs]}])

    objects, known, _ = cluster()
    from_outside, from_node = "203.0.113.5", "192.0.2.77"
    rows = [seen(from_outside, "web-1", 8080, nat_src_ip=from_node), seen(from_outside, "web-2", 80)]
    rows += [seen(from_outside, "db-0", 80, nat_src_ip=NODE_IP)]  # their own node, which is let in always
    pairs = judged(record_of(history(*rows)).pairs, known).pairs

    def change(before: list[Resource], after: list[Resource]) -> list[tuple[str, str, list[str]]]:
        then, now = (compile_policies([*objects, *more], known) for more in (before, after))
        found = changed_pairs(pairs, then, now).sort("port", descending=True)
        return list(found.select("destination_name", "change", "responsible").rows())

    clients, nodes = allow("clients", "203.0.113.0/24"), allow("nodes", f"{from_node}/32")
    sees_node = ["NetworkPolicy shop/clients isolates, where it sees the node that masquerades"]
    assert change([], [clients]) == [("web-1", "cut", sees_node)]
    assert change([], [clients, nodes]) == []
    assert change([clients, nodes], [clients]) == [("web-1", "cut", sees_node)]
    isolates = ["NetworkPolicy shop/nodes isolates"]
    assert change([], [nodes]) == [(name, "cut", isolates) for name in ("web-1", "db-0", "web-2")]


def test_a_policy_that_allows_more_lets_through_what_it_names() -> None:
    (row,) = changes([DENY_ALL], [DENY_ALL, FROM_WEB])
    assert (row["change"], row["source_workload"], row["connections"]) == ("let through", "web", 5)
    assert row["responsible"] == ["NetworkPolicy shop/from-web rule 1 allow"]


def test_a_policy_that_goes_is_named_for_what_it_no_longer_denies() -> None:
    rows = changes([DENY_ALL, FROM_WEB], [FROM_WEB])
    assert [(row["source_workload"], row["change"]) for row in rows] == [("outside", "let through")]
    assert rows[0]["responsible"] == ["no more: NetworkPolicy shop/deny-all isolates"]


def test_no_change_is_no_row() -> None:
    assert changes([DENY_ALL], [DENY_ALL]) == []


def test_near_misses_of_what_cuts_are_told() -> None:
    other_port = policy("other", ingress=[{"from": [{"podSelector": {}}], "ports": [{"port": 1}]}])
    rows = pl.DataFrame(changes([], [other_port]))
    web = rows.filter(source_workload="web")
    assert web["responsible"].to_list() == [["NetworkPolicy shop/other isolates (near miss: rule 1)"]]
