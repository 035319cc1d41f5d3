"""Rows of routes, and the evidence of who serves them, from objects of each kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pipeline.inventory.controllers import LABELLED, NAMED, OWNED, PUBLISHED, label_text, labels_of
from pipeline.inventory.models import Resource, convert
from pipeline.inventory.routing import CONTROLLERS_FRAME, ROUTES_FRAME
from tests.pipeline.inventory.objects import service
from tests.pipeline.inventory.routing_objects import NGINX, gateway, ingress, ingress_class, made, route


def routes(*objects: Resource, columns: Sequence[str] = ("host", "path", "service", "port")) -> list[tuple[Any, ...]]:
    return ROUTES_FRAME.frame(objects).select(columns).rows()


def evidence(*objects: Resource) -> set[tuple[int, str, str, str]]:
    return set(CONTROLLERS_FRAME.frame(objects).select("rank", "namespace", "labels", "workload").rows())


WEB = service("web", "10.0.0.1", ports=[{"name": "http", "port": 80}, {"name": "admin", "port": 81}])


def test_an_ingress_gives_a_route_a_host_and_path_and_its_default_backend_every_host() -> None:
    item = ingress("site", ("a.example", "/", "web", 80), ("", "/x", "api", 8080), default=("web", 80))
    assert routes(item, WEB) == [("", "", "web", 80), ("", "/x", "api", 8080), ("a.example", "/", "web", 80)]


def test_a_port_by_name_is_the_services_and_an_unknown_one_is_zero() -> None:
    item = ingress("site", ("a", "/", "web", "admin"), ("b", "/", "web", "none"), ("c", "/", "gone", "http"))
    assert routes(item, WEB, columns=("host", "port")) == [("a", 81), ("b", 0), ("c", 0)]


@pytest.mark.parametrize(
    ("tls", "offered"),
    [
        (None, [False, False]),
        (["a.example.com"], [True, False]),
        (["*.example.com"], [True, True]),
        ([], [True, True]),  # no hosts: all of them
    ],
)
def test_tls_is_told_by_host(tls: Sequence[str] | None, offered: list[bool]) -> None:
    item = ingress("site", ("a.example.com", "/", "web", 80), ("b.example.com", "/", "web", 80), tls=tls)
    assert [row[0] for row in routes(item, columns=("tls",))] == offered


def test_a_class_is_named_by_the_spec_the_old_annotation_or_the_cluster() -> None:
    known = [ingress_class(), ingress_class("other", "example.org/x", default=True)]
    marked = {"kubernetes.io/ingress.class": "nginx"}
    rules = ("a", "/", "web", 80)
    items = [
        ingress("by-spec", rules),
        ingress("by-annotation", rules, class_name=None, annotations=marked),
        ingress("by-default", rules, class_name=None),
    ]
    assert routes(*known, *items, columns=("name", "class", "controller")) == [
        ("by-annotation", "nginx", "k8s.io/ingress-nginx"),
        ("by-default", "other", "example.org/x"),
        ("by-spec", "nginx", "k8s.io/ingress-nginx"),
    ]


def test_a_controller_is_known_by_its_class_without_an_object_of_the_class() -> None:
    found = evidence(ingress("site", ("a", "/", "web", 80), class_name="traefik"))
    assert (LABELLED, "", "app.kubernetes.io/name=traefik", "") in found
    assert (NAMED, "", "", "traefik") in found


def test_who_answers_at_the_published_address_or_name_serves_the_ingress() -> None:
    balancer = service("lb", "10.0.0.9", namespace="edge", load_balancer_ips=["203.0.113.7"], selector={"app": "proxy"})
    by_ip = ingress("site", ("a", "/", "web", 80), class_name="unheard-of", status=[{"ip": "203.0.113.7"}])
    assert evidence(by_ip, balancer) == {(PUBLISHED, "edge", "app=proxy", "")}
    assert evidence(ingress("site", ("a", "/", "web", 80), class_name="unheard-of"), balancer) == set()


def test_an_ingress_without_any_class_may_be_served_by_every_known_controller() -> None:
    found = evidence(ingress("site", ("a", "/", "web", 80), class_name=None))
    assert {labels for rank, _, labels, _ in found if rank == LABELLED} > {label_text(NGINX), "run=haproxy-ingress"}


def test_openshift_routes_lead_by_target_port() -> None:
    spec = {"to": {"kind": "Service", "name": "web"}, "host": "r.example", "port": {"targetPort": "admin"}}
    item = made("route.openshift.io/v1", "Route", "r", "shop", spec)
    assert routes(item, WEB) == [("r.example", "", "web", 81)]
    everything = made("route.openshift.io/v1", "Route", "r", "shop", {"to": {"name": "web"}})
    assert routes(everything, WEB) == [("", "", "web", 80), ("", "", "web", 81)]


def test_an_openshift_route_is_served_by_the_routers_that_say_so() -> None:
    """Routers share the Routes out among them by their labels."""
    label = "ingresscontroller.operator.openshift.io/deployment-ingresscontroller"
    spec = {"to": {"kind": "Service", "name": "web"}}
    status = {"ingress": [{"host": "r.example", "routerName": "internal"}]}
    body = {"metadata": {"name": "r", "namespace": "shop"}, "spec": spec}
    untold, told = (convert("route.openshift.io/v1", "Route", {**body, **more}) for more in ({}, {"status": status}))
    assert evidence(untold, WEB) == {(LABELLED, "", f"{label}=default", ""), (NAMED, "", "", "router-default")}
    assert evidence(told, WEB) == {(LABELLED, "", f"{label}=internal", ""), (NAMED, "", "", "router-internal")}


HTTP = {"name": "http", "port": 80, "protocol": "HTTP"}
HTTPS = {"name": "https", "port": 443, "protocol": "HTTPS", "hostname": "*.example.com"}


def test_a_route_has_its_own_hosts_or_else_its_listeners() -> None:
    rule = {"backendRefs": [{"name": "web", "port": 80}]}
    entrance = gateway("edge", HTTP, HTTPS)
    named = route("named", [{"name": "edge"}], rule, hosts=["a.example.com", "b.example.com"])
    assert routes(named, entrance) == [("a.example.com", "/", "web", 80), ("b.example.com", "/", "web", 80)]
    section = route("section", [{"name": "edge", "sectionName": "https"}], rule)
    assert routes(section, entrance, columns=("host", "tls")) == [("*.example.com", True)]
    plain = route("plain", [{"name": "edge", "port": 80}], rule)
    assert routes(plain, entrance, columns=("host", "tls", "class")) == [("", False, "eg")]


def test_a_route_is_offered_by_the_listeners_that_take_its_kind_and_hosts() -> None:
    passthrough = {"name": "db", "port": 6443, "protocol": "TLS", "hostname": "*.db.example"}
    entrance = gateway("edge", HTTP, HTTPS, passthrough)
    rule = {"backendRefs": [{"name": "web", "port": 80}]}
    hosts = ["a.example.com", "example.com", "a.db.example"]
    columns = ("host", "tls")
    named = route("named", [{"name": "edge"}], rule, hosts=hosts)
    assert routes(named, entrance, columns=columns) == [
        ("a.db.example", False),
        ("a.example.com", True),
        ("example.com", False),
    ]
    anything = route("any", [{"name": "edge"}], rule, kind="GRPCRoute")
    assert routes(anything, entrance, columns=columns) == [("", False), ("*.example.com", True)]
    database = route("db", [{"name": "edge"}], rule, hosts=["*.example", "a.db.example"], kind="TLSRoute")
    assert routes(database, entrance, columns=columns) == [("*.db.example", True), ("a.db.example", True)]
    wide = route("wide", [{"name": "edge", "sectionName": "https"}], rule, hosts=["*.com", "*.a.example.com", "b.org"])
    assert routes(wide, entrance, columns=columns) == [("*.a.example.com", True), ("*.example.com", True)]


def test_a_backend_of_weight_zero_is_no_routes() -> None:
    """The references of HTTPRoute and the others: it gets no traffic. Whoever reaches a Service that waits for its turn
    in a roll-out came by another route."""
    references = [{"name": "web", "port": 80, "weight": 100}, {"name": "next", "port": 80, "weight": 0}]
    shared = route("shared", [{"name": "edge"}], {"backendRefs": references}, hosts=["shop.example"])
    assert routes(shared, gateway("edge", HTTP), columns=("service", "weight")) == [("web", 100)]
    targets = {"to": {"name": "web", "weight": 0}, "alternateBackends": [{"name": "next", "weight": 5}]}
    item = made("route.openshift.io/v1", "Route", "r", "shop", targets)
    next_one = service("next", "10.0.0.2", ports=[{"port": 80}])
    assert routes(item, WEB, next_one, columns=("service", "weight")) == [("next", 5)]
    edge = made("networking.istio.io/v1", "Gateway", "edge", "shop", {"selector": {"istio": "ingressgateway"}})
    split = [{"destination": {"host": "web", "port": {"number": 80}}, "weight": weight} for weight in (0, 100)]
    split[0]["destination"] = {"host": "next", "port": {"number": 80}}
    bound = {"hosts": ["shop.example"], "gateways": ["edge"], "http": [{"route": split}]}
    virtual = made("networking.istio.io/v1", "VirtualService", "v", "shop", bound)
    assert routes(virtual, edge, WEB, columns=("service", "weight")) == [("web", 100)]


def test_backends_are_services_of_any_namespace_with_their_weights() -> None:
    references = [
        {"name": "web", "port": 80, "weight": 9},
        {"name": "web", "port": 80, "weight": 1, "namespace": "next"},
        {"name": "bucket", "kind": "Bucket", "group": "example.org"},
    ]
    item = route("r", [{"name": "edge"}], {"backendRefs": references})
    columns = ("service_namespace", "service", "weight")
    assert routes(item, gateway("edge"), columns=columns) == [("next", "web", 1), ("shop", "web", 9)]


def test_paths_and_grpc_methods_are_matched_as_written() -> None:
    matches = [
        {"path": {"type": "Exact", "value": "/a"}},
        {"path": {"type": "RegularExpression", "value": "/b.*"}},
        {"method": "GET"},
    ]
    http = route("http", [{"name": "edge"}], {"matches": matches, "backendRefs": [{"name": "web", "port": 80}]})
    found = routes(http, columns=("path", "path_type"))
    assert found == [("/", "prefix"), ("/a", "exact"), ("/b.*", "pattern")]
    methods = [{"method": {"service": "p.S", "method": "Get"}}, {"method": {"service": "p.T"}}]
    rule = {"matches": methods, "backendRefs": [{"name": "web", "port": 80}]}
    grpc = route("grpc", [{"name": "edge"}], rule, kind="GRPCRoute")
    assert routes(grpc, columns=("path", "path_type")) == [("/p.S/Get", "exact"), ("/p.T", "prefix")]


def test_a_route_whose_parent_is_a_service_is_no_entrance() -> None:
    rule = {"backendRefs": [{"name": "web", "port": 80}]}
    assert routes(route("mesh", [{"group": "", "kind": "Service", "name": "web"}], rule)) == []


def test_a_gateways_pods_are_told_by_the_label_that_its_controller_puts_on_them() -> None:
    rule = {"backendRefs": [{"name": "web", "port": 80}]}
    found = evidence(route("r", [{"name": "edge", "namespace": "infra"}], rule))
    assert (OWNED, "infra", "gateway.networking.k8s.io/gateway-name=edge", "") in found


def test_a_virtual_service_on_a_gateway_is_a_route_and_one_of_the_mesh_is_none() -> None:
    entrance = made(
        "networking.istio.io/v1",
        "Gateway",
        "edge",
        "infra",
        {"selector": {"istio": "edge"}, "servers": [{"port": {"number": 443, "protocol": "https"}, "hosts": ["*"]}]},
    )
    target = {"destination": {"host": "web.shop.svc.cluster.local", "port": {"number": 80}}}
    rules = [{"match": [{"uri": {"prefix": "/v2"}}, {"uri": {"exact": "/"}, "gateways": ["mesh"]}], "route": [target]}]
    spec = {"hosts": ["*"], "gateways": ["infra/edge"], "http": rules}
    bound = made("networking.istio.io/v1", "VirtualService", "site", "shop", spec)
    assert routes(bound, entrance, columns=("host", "path", "service", "tls")) == [("", "/v2", "web", True)]
    assert evidence(bound, entrance) == {(LABELLED, "", "istio=edge", "")}
    mesh = made("networking.istio.io/v1", "VirtualService", "site", "shop", {"hosts": ["web"], "http": rules})
    assert routes(mesh, entrance) == []


def test_labels_as_text_are_the_same_labels_again() -> None:
    assert labels_of(label_text(NGINX)) == NGINX
    assert labels_of("") == {}
