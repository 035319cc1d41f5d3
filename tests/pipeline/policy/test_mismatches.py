"""Answered although denied, unanswered although allowed, and what is neither."""

from __future__ import annotations

from typing import Any

from pipeline.inventory.models import Resource
from pipeline.policy.ends import judged
from pipeline.policy.mismatches import mismatches
from pipeline.policy.record import record_of
from tests.pipeline.policy.histories import NODE_IP, cluster, history, policy, seen

DENY_ALL = policy("deny-all", policyTypes=["Ingress"])


def told(policies: list[Resource], *rows: dict[str, Any]) -> list[tuple[str, str, int]]:
    _, known, compiled = cluster(*policies)
    found = mismatches(compiled, known, judged(record_of(history(*rows)).pairs, known).pairs)
    return list(found.select("mismatch", "source_workload", "connections").rows())


def test_what_is_answered_although_denied() -> None:
    rows = [seen("web-1", "db-0", 5432), seen("web-2", "db-0", 5432), seen("web-1", "db-0", 5432, outcome="no_reply")]
    assert told([DENY_ALL], *rows) == [("answered although denied", "web", 2)]
    assert told([], *rows[:2]) == []


def test_what_is_unanswered_although_allowed() -> None:
    rows = [
        seen("web-1", "db-0", 5432, outcome="no_reply"),
        seen("web-1", "dns-1", 53, protocol=17, outcome="no_reply"),
    ]
    assert told([], *rows) == [("unanswered although allowed", "web", 1)]
    assert told([DENY_ALL], *rows) == []


def test_where_it_depends_on_whether_policies_see_the_node_that_masqueraded_nothing_is_said() -> None:
    def allow(cidr: str) -> Resource:
        return policy("some", ingress=[{"from": [{"ipBlock": {"cidr": cidr}}]}])

    row = seen("198.51.100.1", "db-0", 5432, nat_src_ip="192.0.2.77")
    assert told([DENY_ALL], row) == [("answered although denied", "outside", 1)]
    assert told([allow("192.0.2.77/32")], row) == []
    silent = {**row, "outcome": "no_reply"}
    assert told([], silent) == [("unanswered although allowed", "outside", 1)]
    assert told([allow("198.51.100.0/24")], silent) == []
    assert told([DENY_ALL], {**row, "nat_src_ip": NODE_IP}) == []


def test_a_node_may_always_reach_its_own_pods() -> None:
    assert told([DENY_ALL], seen("n1", "db-0", 5432)) == []
    assert told([DENY_ALL], seen("198.51.100.1", "db-0", 5432)) == [("answered although denied", "outside", 1)]
