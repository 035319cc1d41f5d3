"""Ways in that lead nowhere."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.diagnosis.entrances import broken_routes, pending_load_balancers
from pipeline.inventory.models import Resource, convert
from tests.pipeline.diagnosis.broken_cluster import evidence, service


def ingress(target: str, port: dict[str, Any]) -> Resource:
    backend = {"service": {"name": target, "port": port}}
    rules = [{"host": "shop.example.com", "http": {"paths": [{"path": "/cart", "backend": backend}]}}]
    metadata = {"name": "entry", "namespace": "shop"}
    return convert(
        "networking.k8s.io/v1", "Ingress", {"kind": "Ingress", "metadata": metadata, "spec": {"rules": rules}}
    )


def http_route(target: str, port: int) -> Resource:
    body = {
        "kind": "HTTPRoute",
        "metadata": {"name": "entry", "namespace": "shop"},
        "spec": {"rules": [{"backendRefs": [{"name": target, "port": port}]}]},
    }
    return convert("gateway.networking.k8s.io/v1", "HTTPRoute", body)


def test_a_load_balancer_without_an_address_is_told() -> None:
    (finding,) = pending_load_balancers(evidence(service(type="LoadBalancer")))
    assert (finding.severity, finding.subject) == ("warning", "Service shop/web")
    assert not list(pending_load_balancers(evidence(service(type="NodePort"))))


def test_a_load_balancer_with_a_host_name_is_well() -> None:
    body = {
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
        "status": {"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}]}},
    }
    assert not list(pending_load_balancers(evidence(convert("v1", "Service", body))))


@pytest.mark.parametrize("port", [{"number": 80}, {"name": "http"}])
def test_a_route_to_a_port_that_is_there_is_well(port: dict[str, Any]) -> None:
    assert not list(broken_routes(evidence(service(port={"port": 80, "name": "http"}), ingress("web", port))))


def test_a_route_to_no_service_is_an_error_that_names_place_and_service() -> None:
    (finding,) = broken_routes(evidence(service(), ingress("wbe", {"number": 80})))
    assert (finding.severity, finding.subject) == ("error", "Ingress shop/entry")
    assert finding.problem == "its backend Service shop/wbe does not exist"
    assert finding.evidence[0] == "at host shop.example.com, path /cart"


def test_an_action_of_the_load_balancer_is_no_service() -> None:
    """A redirect to HTTPS, say, which every other Ingress of the AWS Load Balancer Controller has."""
    assert not list(broken_routes(evidence(service(), ingress("ssl-redirect", {"name": "use-annotation"}))))


@pytest.mark.parametrize("route", [ingress("web", {"number": 81}), http_route("web", 81)])
def test_a_route_to_no_port_is_an_error_that_says_which_there_are(route: Resource) -> None:
    (finding,) = broken_routes(evidence(service(), route))
    assert finding.problem == "its backend Service shop/web has no port 81"
    assert finding.evidence[-1] == "it has 80"


def test_routes_of_other_services_are_left_out_where_one_is_asked_about() -> None:
    assert not list(broken_routes(evidence(service(), ingress("wbe", {"number": 80}), service=("shop", "web"))))
