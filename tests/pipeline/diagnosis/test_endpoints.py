"""Services that nobody can answer for."""

from __future__ import annotations

from pipeline.diagnosis.endpoints import without_endpoints
from tests.pipeline.diagnosis.broken_cluster import dialled, evidence, pod, service, slice_of, told

WEB = pod("web-1", "10.0.0.1", app="web")
SUBJECT = "Service shop/web port 80"


def test_a_service_with_a_ready_endpoint_is_well() -> None:
    assert not list(without_endpoints(evidence(service(), WEB, slice_of("web", "10.0.0.1"))))


def test_a_service_whose_endpoints_are_not_ready_is_a_warning_that_says_which_pods_match() -> None:
    (finding,) = without_endpoints(evidence(service(), WEB, slice_of("web", "10.0.0.1", ready=False)))
    assert (finding.severity, finding.subject) == ("warning", SUBJECT)
    assert finding.evidence[0] == "selector app=web matches 1 pod: web-1"
    assert finding.next == "kubectl -n shop get pods -l app=web -o wide"


def test_it_is_an_error_where_clients_dial_it_and_they_are_named() -> None:
    rows = [dialled(1, reached=False), dialled(2, reached=False), dialled(3, reached=True)]
    (finding,) = without_endpoints(evidence(service(), slice_of("web"), rows=rows))
    assert finding.severity == "error"
    assert "2 connections of shop/client, the last at 2026-03-01 12:00:00 UTC" in finding.evidence


def test_connections_that_came_through_before_are_no_dialling_in_vain() -> None:
    (finding,) = without_endpoints(evidence(service(), slice_of("web"), rows=[dialled(1, reached=True)]))
    assert finding.severity == "warning"


def test_the_pipelines_metrics_tell_of_dialling_too() -> None:
    labels = 'service_namespace="shop",service="web",service_port="80"'
    metrics = f"flowatlas_service_no_endpoint_connections_total{{{labels}}} 7\n"
    (finding,) = without_endpoints(evidence(service(), slice_of("web"), metrics=metrics))
    assert finding.severity == "error"
    assert "7 connections without a ready endpoint since the pipeline started" in finding.evidence


def test_a_selector_that_misses_by_one_label_says_what_pods_have_there() -> None:
    wanted = service(selector={"app": "web", "tier": "front"})
    near = pod("web-1", "10.0.0.1", app="web", tier="frontend")
    (finding,) = without_endpoints(evidence(wanted, near, slice_of("web")))
    assert finding.evidence == (
        "selector app=web,tier=front matches no pod of the namespace",
        "tier is frontend on pods that match otherwise: web-1",
    )


def test_a_dump_without_pods_and_slices_accuses_no_service() -> None:
    assert not list(without_endpoints(evidence(service())))
    assert not list(without_endpoints(evidence(service(selector=None), WEB)))


def test_external_names_have_no_endpoints_and_want_none() -> None:
    assert not list(without_endpoints(evidence(service(type="ExternalName", externalName="example.com"), WEB)))


def test_only_the_service_that_is_asked_about_is_told() -> None:
    objects = (service(), service("other"), slice_of("web"), slice_of("other"))
    assert told(list(without_endpoints(evidence(*objects, service=("shop", "web"))))) == [("warning", SUBJECT)]


def test_of_a_pod_only_the_services_that_select_it_are_told() -> None:
    objects = (service(), service("other", selector={"app": "x"}), WEB, slice_of("web"), slice_of("other"))
    assert told(list(without_endpoints(evidence(*objects, pod=("shop", "web-1"))))) == [("warning", SUBJECT)]
