"""One pod and policies."""

from __future__ import annotations

from typing import Any

from pipeline.diagnosis.policies import denied, mismatched, policies_of_pod
from pipeline.inventory.models import Resource
from tests.pipeline.diagnosis.broken_cluster import dialled, evidence, node, pod, service, slice_of
from tests.pipeline.policy.histories import policy

DENY = policy("deny-all", policyTypes=["Ingress", "Egress"], podSelector={"matchLabels": {"app": "client"}})
OBJECTS: tuple[Resource, ...] = (
    node("n1"),
    service(),
    pod("web-1", "10.0.0.1", app="web"),
    pod("client-1", "10.0.0.9", app="client"),
    slice_of("web", "10.0.0.1"),
)
CLIENT = ("shop", "client-1")


def test_both_directions_say_which_policies_select_the_pod() -> None:
    found = list(policies_of_pod(evidence(*OBJECTS, DENY, pod=CLIENT, state="dump.yaml")))
    assert {(finding.severity, finding.problem) for finding in found} == {
        ("note", "egress: what selects it"),
        ("note", "ingress: what selects it"),
    }
    assert {finding.evidence for finding in found} == {("NetworkPolicy shop/deny-all",)}
    assert all(finding.next.startswith("flowatlas explain --state dump.yaml ") for finding in found)


def test_a_pod_that_no_policy_selects_is_told_so() -> None:
    found = list(policies_of_pod(evidence(*OBJECTS, DENY, pod=("shop", "web-1"))))
    assert {finding.problem for finding in found} == {"egress: no policy selects it", "ingress: no policy selects it"}


def test_without_a_pod_nothing_is_said() -> None:
    rows = [dialled(1, reached=False, verdict="denied")]
    assert not list(policies_of_pod(evidence(*OBJECTS, DENY)))
    assert not list(denied(evidence(*OBJECTS, DENY, rows=rows)))


def test_what_was_denied_names_the_policy_of_now() -> None:
    rows: list[dict[str, Any]] = [dialled(1, reached=True, verdict="denied")]
    (finding,) = denied(evidence(*OBJECTS, DENY, rows=rows, pod=CLIENT))
    assert (finding.severity, finding.subject) == ("warning", "shop/client to shop/web port 8080")
    assert finding.evidence[1].startswith("egress: isolated by NetworkPolicy shop/deny-all")
    (finding,) = denied(evidence(*OBJECTS, rows=rows, pod=CLIENT))
    assert finding.evidence[1] == "the policies of now allow it"


def test_what_was_dropped_before_a_backend_was_chosen_is_told_where_every_backend_is_denied() -> None:
    rows = [dialled(1, reached=False)]
    (finding,) = denied(evidence(*OBJECTS, DENY, rows=rows, pod=CLIENT))
    assert finding.evidence[1].startswith("egress: isolated by NetworkPolicy shop/deny-all")
    assert not list(denied(evidence(*OBJECTS, rows=rows, pod=CLIENT)))


def test_denials_of_other_pods_are_left_out() -> None:
    rows = [dialled(1, reached=True, verdict="denied", source="other", destination_name="web-2")]
    assert not list(denied(evidence(*OBJECTS, DENY, rows=rows, pod=CLIENT)))


def test_denied_but_established_is_an_error_and_the_other_way_a_warning() -> None:
    text = "isolates NetworkPolicy/shop/deny-all/"
    rows = [
        dialled(1, reached=True, mismatch="established_denied", egress_policies=[text], ingress_policies=[]),
        dialled(2, reached=False, mismatch="dropped_allowed", egress_policies=[], ingress_policies=[]),
    ]
    allowed, against = mismatched(evidence(rows=rows))
    assert (allowed.severity, against.severity) == ("warning", "error")
    assert against.evidence[1:] == ("isolates NetworkPolicy/shop/deny-all",)
    assert not list(mismatched(evidence(*OBJECTS, rows=rows, pod=("shop", "nobody"))))
