"""Policies that deny much, of the history."""

from __future__ import annotations

from typing import Any

from pipeline.diagnosis.denials import denying_policies
from tests.pipeline.diagnosis.broken_cluster import dialled, evidence, node, pod, service

DENIED = ["isolates NetworkPolicy/shop/only-web/"]


def rows(count: int, **columns: Any) -> list[dict[str, Any]]:
    verdicts = {"verdict": "denied", "ingress_verdict": "denied", "ingress_policies": DENIED, "egress_policies": []}
    return [dialled(number, reached=True, outcome="no_reply", **{**verdicts, **columns}) for number in range(count)]


def test_a_policy_that_denies_much_is_named_with_whom_it_keeps_from_whom() -> None:
    (finding,) = denying_policies(evidence(rows=rows(51)))
    assert (finding.severity, finding.subject) == ("warning", "NetworkPolicy shop/only-web (ingress)")
    assert finding.problem == "it denied 51 connections"
    assert finding.evidence == ("51 of shop/client to shop/web port 8080", "the last at 2026-03-01 12:00:00 UTC")
    assert finding.next.endswith("--from 10.0.0.9 --to 10.0.0.1 --port 8080 --protocol 6")


def test_denials_of_several_clients_sum_the_most_first() -> None:
    (finding,) = denying_policies(evidence(rows=[*rows(20, source_workload="other"), *rows(40)]))
    assert finding.problem == "it denied 60 connections"
    assert finding.evidence[0].startswith("40 of shop/client")


def test_each_direction_is_told_by_itself() -> None:
    both = rows(60, egress_verdict="denied", egress_policies=["deny AdminNetworkPolicy//top/rule/1"])
    found = denying_policies(evidence(rows=both))
    assert {finding.subject for finding in found} == {
        "NetworkPolicy shop/only-web (ingress)",
        "AdminNetworkPolicy top (egress)",
    }


def test_few_denials_and_what_is_allowed_say_nothing() -> None:
    assert not list(denying_policies(evidence(rows=rows(50))))
    assert not list(denying_policies(evidence(rows=rows(60, ingress_verdict="allowed", verdict="allowed"))))


def test_rows_that_are_another_view_or_a_later_one_are_not_counted() -> None:
    assert not list(denying_policies(evidence(rows=rows(60, role="observer"))))
    assert not list(denying_policies(evidence(rows=rows(60, opened=0))))


def test_of_a_pod_or_another_service_nothing_is_said_here() -> None:
    objects = (node("n1"), service(), service("other", selector={"app": "x"}), pod("web-1", "10.0.0.1", app="web"))
    assert not list(denying_policies(evidence(*objects, rows=rows(60), pod=("shop", "web-1"))))
    assert not list(denying_policies(evidence(*objects, rows=rows(60), service=("shop", "other"))))
