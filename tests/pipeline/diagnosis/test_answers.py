"""Endpoints that refuse or do not answer although they are ready."""

from __future__ import annotations

from typing import Any

from pipeline.diagnosis.answers import unanswering
from pipeline.inventory.models import Resource
from tests.pipeline.diagnosis.broken_cluster import dialled, evidence, node, pod, service, slice_of

OBJECTS: tuple[Resource, ...] = (
    node("n1"),
    service(),
    pod("web-1", "10.0.0.1", app="web"),
    slice_of("web", "10.0.0.1"),
)


def rows(outcome: str, count: int, first: int = 1) -> list[dict[str, Any]]:
    return [dialled(first + place, reached=True, outcome=outcome, verdict="allowed") for place in range(count)]


def test_an_endpoint_that_refuses_is_told_with_how_many() -> None:
    (finding,) = unanswering(evidence(*OBJECTS, rows=[*rows("refused", 3), *rows("closed", 3, 10)]))
    assert (finding.severity, finding.subject) == ("error", "Service shop/web port 80, endpoint shop/web-1")
    assert finding.problem == "it is ready and refuses connections"
    assert finding.evidence[0].startswith("3 refused and 0 not answered of 6 connections to 10.0.0.1 port 8080")


def test_one_that_is_silent_is_told_as_such() -> None:
    (finding,) = unanswering(evidence(*OBJECTS, rows=rows("no_reply", 4)))
    assert finding.problem == "it is ready and does not answer"


def test_few_failures_and_a_small_part_say_nothing() -> None:
    assert not list(unanswering(evidence(*OBJECTS, rows=rows("refused", 2))))
    assert not list(unanswering(evidence(*OBJECTS, rows=[*rows("refused", 3), *rows("closed", 4, 10)])))


def test_what_a_policy_denies_is_not_counted() -> None:
    denied = [row | {"verdict": "denied"} for row in rows("no_reply", 5)]
    assert not list(unanswering(evidence(*OBJECTS, rows=denied)))


def test_what_never_came_to_an_endpoint_is_not_counted() -> None:
    untranslated = [dialled(number, reached=False, verdict="allowed") for number in range(1, 6)]
    assert not list(unanswering(evidence(*OBJECTS, rows=untranslated)))


def test_an_endpoint_that_is_not_ready_is_not_blamed() -> None:
    gone = [*OBJECTS[:3], slice_of("web", "10.0.0.1", ready=False)]
    assert not list(unanswering(evidence(*gone, rows=rows("refused", 5))))


def test_an_open_row_before_the_refusal_is_the_same_connection() -> None:
    both = [*rows("open", 3), *rows("refused", 3)]
    (finding,) = unanswering(evidence(*OBJECTS, rows=both))
    assert "of 3 connections" in finding.evidence[0]


def test_of_others_than_the_service_asked_about_nothing_is_said() -> None:
    assert not list(unanswering(evidence(*OBJECTS, rows=rows("refused", 5), service=("shop", "other"))))
