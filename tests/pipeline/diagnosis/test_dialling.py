"""Service addresses that a node does not translate."""

from __future__ import annotations

from typing import Any

from pipeline.diagnosis.dialling import untranslated
from pipeline.inventory.models import Resource
from tests.pipeline.diagnosis.broken_cluster import dialled, evidence, node, pod, service, slice_of
from tests.pipeline.policy.histories import policy

OBJECTS: tuple[Resource, ...] = (
    node("n1"),
    node("n2"),
    service(),
    pod("web-1", "10.0.0.1", app="web"),
    pod("client-1", "10.0.0.9", on="n2", app="client"),
    slice_of("web", "10.0.0.1"),
)


def rows(on: str, reached: bool, first: int = 1, count: int = 3) -> list[dict[str, Any]]:
    return [dialled(first + place, reached=reached, on=on) for place in range(count)]


def test_a_node_from_which_no_connection_reaches_the_service_is_told_with_those_where_it_works() -> None:
    (finding,) = untranslated(evidence(*OBJECTS, rows=[*rows("n2", False), *rows("n1", True)]))
    assert (finding.severity, finding.subject) == ("error", "Service shop/web port 80 on node n2")
    assert finding.evidence[0].startswith("3 connections of shop/client, none translated or answered")
    assert finding.evidence[1:] == ("ready endpoints: 1", "from n1 it works")


def test_two_attempts_are_too_few_to_say() -> None:
    assert not list(untranslated(evidence(*OBJECTS, rows=rows("n2", False, count=2))))


def test_one_that_came_through_clears_the_node() -> None:
    assert not list(untranslated(evidence(*OBJECTS, rows=[*rows("n2", False), *rows("n2", True, 9, 1)])))


def test_a_later_observation_of_the_same_connection_may_bring_the_answer() -> None:
    later = [dialled(number, reached=True, on="n2", opened=0) for number in (1, 2, 3)]
    assert not list(untranslated(evidence(*OBJECTS, rows=[*rows("n2", False), *later])))


def test_without_a_ready_endpoint_the_node_is_not_to_blame() -> None:
    empty = [item for item in OBJECTS if item.kind != "EndpointSlice"]
    assert not list(untranslated(evidence(*empty, slice_of("web", "10.0.0.1", ready=False), rows=rows("n2", False))))


def test_clients_that_an_egress_policy_selects_testify_to_nothing() -> None:
    selecting = policy("out", podSelector={"matchLabels": {"app": "client"}}, policyTypes=["Egress"])
    assert not list(untranslated(evidence(*OBJECTS, selecting, rows=rows("n2", False))))
    elsewhere = policy("out", podSelector={"matchLabels": {"app": "web"}}, policyTypes=["Egress"])
    assert list(untranslated(evidence(*OBJECTS, elsewhere, rows=rows("n2", False))))
