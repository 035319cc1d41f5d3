"""Backend legs of Ingresses and Gateways: which route, which candidates, and what stays without one."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from pipeline.attribution import attribute, with_labels, with_structs
from pipeline.attribution.route_names import ROUTE_LABELS, SEVERAL
from pipeline.inventory.history import History
from pipeline.inventory.models import Resource
from pipeline.inventory.snapshot import Snapshot, build
from tests.pipeline.attribution.cluster import Flow
from tests.pipeline.attribution.frames import frame_of
from tests.pipeline.inventory.objects import node, pod, service
from tests.pipeline.inventory.routing_objects import NGINX, gateway, ingress, ingress_class, route

PROXY, OTHER_PROXY, WEB, API, STRANGER = "10.8.0.1", "10.8.0.2", "10.8.0.3", "10.8.0.4", "10.8.0.5"
WEB_IP, API_IP = "10.0.0.1", "10.0.0.2"

CLUSTER: tuple[Resource, ...] = (
    node("n1", "192.0.2.1"),
    pod("proxy", PROXY, namespace="edge", labels=NGINX, on="n1"),
    pod("other-proxy", OTHER_PROXY, namespace="edge", labels={"app.kubernetes.io/name": "traefik"}, on="n1"),
    pod("web-1", WEB, labels={"app": "web"}, on="n1"),
    pod("api-1", API, labels={"app": "api"}, on="n1"),
    pod("stranger", STRANGER, on="n1"),
    service("web", WEB_IP, ports=[{"port": 80, "targetPort": 8080}], selector={"app": "web"}),
    service("api", API_IP, ports=[{"port": 80, "targetPort": 8080}], selector={"app": "api"}),
    ingress_class(),
    ingress_class("traefik", "traefik.io/ingress-controller"),
)
SITE = ingress("site", ("a.example", "/", "web", 80), ("a.example", "/api", "api", 80), tls=["a.example"])


def judged(snapshot: Snapshot, *flows: Flow, **columns: list[str | None]) -> list[dict[str, Any]]:
    frame = frame_of(flows).with_columns(
        **{name: pl.Series(values, dtype=pl.String) for name, values in columns.items()}
    )
    return with_structs(attribute(frame, snapshot).lazy(), snapshot).collect().to_dicts()


def leg(source: str, service_ip: str, backend: str) -> Flow:
    """A connection to a Service's address that a node's NAT took to a backend."""
    return Flow("n1", source, service_ip, backend, source, 80, 6, 8080)


def direct(source: str, backend: str, port: int = 8080) -> Flow:
    return Flow("n1", source, backend, backend, source, port, 6, port)


def named(row: dict[str, Any]) -> tuple[str, str | None, str | None] | None:
    told = row["ingress"]
    return told and (told["name"], told["host"], told["path"])


def test_a_leg_to_the_services_address_is_the_route_that_names_the_service() -> None:
    web, api = judged(build([*CLUSTER, SITE]), leg(PROXY, WEB_IP, WEB), leg(PROXY, API_IP, API))
    assert web["ingress"] == {"kind": "Ingress", "namespace": "shop", "name": "site", "host": "a.example", "path": "/"}
    assert named(api) == ("site", "a.example", "/api")
    assert web["attribution"] == api["attribution"] == "exact"
    assert web["ingress_candidates"] is None


def test_where_the_proxy_dials_pods_its_routes_tell_the_service() -> None:
    (row,) = judged(build([*CLUSTER, SITE]), direct(PROXY, API))
    assert named(row) == ("site", "a.example", "/api")
    assert (row["service"]["name"], row["service"]["via"]) == ("api", "backend")
    assert (row["attribution"], row["reason"]) == ("inferred", "backend_only")


def test_who_is_no_proxy_of_the_route_has_none() -> None:
    rows = judged(build([*CLUSTER, SITE]), *(leg(source, WEB_IP, WEB) for source in (STRANGER, OTHER_PROXY, WEB)))
    assert [named(row) for row in rows] == [None, None, None]
    (row,) = judged(build([*CLUSTER, SITE]), direct(OTHER_PROXY, WEB))
    assert row["service"] is None


def test_what_a_proxy_says_to_others_is_no_route() -> None:
    rows = judged(build([*CLUSTER, SITE]), direct(PROXY, STRANGER), direct(PROXY, WEB, port=9999))
    assert [(named(row), row["service"]) for row in rows] == [(None, None), (None, None)]


def test_two_classes_are_served_by_their_own_proxies() -> None:
    theirs = ingress("theirs", ("b.example", "/", "web", 80), class_name="traefik")
    rows = judged(build([*CLUSTER, SITE, theirs]), leg(PROXY, WEB_IP, WEB), leg(OTHER_PROXY, WEB_IP, WEB))
    assert [named(row) for row in rows] == [("site", "a.example", "/"), ("theirs", "b.example", "/")]


def test_the_proxy_at_the_published_address_rules_out_its_namesakes() -> None:
    namesake = pod("namesake", "10.8.0.9", namespace="elsewhere", labels=NGINX, on="n1")
    balancer = service("lb", "10.0.0.9", namespace="edge", load_balancer_ips=["203.0.113.7"], selector=NGINX)
    published = ingress("site", ("a.example", "/", "web", 80), status=[{"ip": "203.0.113.7"}])
    rows = judged(
        build([*CLUSTER, namesake, balancer, published]), leg(PROXY, WEB_IP, WEB), leg("10.8.0.9", WEB_IP, WEB)
    )
    assert [named(row) for row in rows] == [("site", "a.example", "/"), None]


@pytest.mark.parametrize("has_balancer", [True, False])
def test_of_services_that_share_an_address_the_one_with_the_proxys_ports_publishes(has_balancer: bool) -> None:
    """Balancers give one address to several Services by port; k3s gives all of them the nodes' own, which a controller
    without a balancer publishes too."""
    shared = ["203.0.113.7"]
    postgres = pod("postgres", "10.8.0.9", namespace="data", labels={"app": "postgres"}, on="n1")
    database = service(
        "db", namespace="data", ports=[{"port": 5432}], load_balancer_ips=shared, selector={"app": "postgres"}
    )
    ports = [{"port": 8443, "targetPort": 443}]
    proxys = service("lb", namespace="edge", ports=ports, load_balancer_ips=shared, selector=NGINX)
    published = ingress("site", ("a.example", "/", "web", 80), status=[{"ip": "203.0.113.7"}])
    snapshot = build([*CLUSTER, postgres, database, published, *([proxys] if has_balancer else [])])
    rows = judged(snapshot, leg(PROXY, WEB_IP, WEB), leg("10.8.0.9", WEB_IP, WEB))
    assert [named(row) for row in rows] == [("site", "a.example", "/"), None]


def test_one_route_by_several_ways_is_one_route() -> None:
    """By two listeners or Gateways of the same pods, and by rules that look at headers too."""
    http, https = (
        {"name": "http", "port": 80, "protocol": "HTTP"},
        {"name": "https", "port": 443, "protocol": "HTTPS"},
    )
    place = "203.0.113.7"
    balancer = service("lb", namespace="edge", load_balancer_ips=[place], selector=NGINX)
    gateways = [gateway("other", http, addresses=[place]), gateway("edge", http, https, addresses=[place])]
    parents = [{"name": "edge", "sectionName": "http"}, {"name": "edge", "sectionName": "https"}, {"name": "other"}]
    web, by_header = {"name": "web", "port": 80}, {"headers": [{"name": "x", "value": "y"}]}
    canary: dict[str, Any] = {"matches": [by_header], "backendRefs": [web]}
    split: dict[str, Any] = {"backendRefs": [{**web, "weight": 90}, {"name": "api", "port": 80, "weight": 10}]}
    snapshot = build([*CLUSTER, balancer, *gateways, route("shared", parents, canary, split, hosts=["a.example"])])
    flows = attribute(frame_of([leg(PROXY, WEB_IP, WEB), direct(PROXY, WEB)]), snapshot).lazy()
    told = with_labels(flows, snapshot).select("route", "route_host", "route_path", "tls", "reason").collect().rows()
    assert told == [("shared", "a.example", "/", "true", reason) for reason in ("", "backend_only")]


TWO_HOSTS = ingress("two", ("a.example", "/", "web", 80), ("a.example", "/deep", "web", 80), ("", "/", "web", 80))


def test_several_rules_for_one_service_are_candidates() -> None:
    (row,) = judged(build([*CLUSTER, TWO_HOSTS]), leg(PROXY, WEB_IP, WEB))
    assert row["ingress"] is None
    assert [(told["host"], told["path"]) for told in row["ingress_candidates"]] == [
        (None, "/"),
        ("a.example", "/"),
        ("a.example", "/deep"),
    ]
    assert (row["attribution"], row["reason"]) == ("ambiguous", "ambiguous_route")
    assert row["service"]["name"] == "web"


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("a.example", "/deep/er", ("a.example", "/deep")),
        ("a.example", "/deeper", ("a.example", "/")),
        ("A.Example:8443", "/", ("a.example", "/")),
        ("other.example", "/deep", (None, "/")),
    ],
)
def test_host_and_path_narrow_to_the_most_specific_rule(host: str, path: str, expected: tuple[str, str]) -> None:
    flow = leg(PROXY, WEB_IP, WEB)
    (row,) = judged(build([*CLUSTER, TWO_HOSTS]), flow, server_name=[host], path=[path])
    assert (row["ingress"]["host"], row["ingress"]["path"]) == expected
    assert row["ingress_candidates"] is None
    assert (row["attribution"], row["reason"]) == ("inferred", "head")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/deep/…", {"/deep"}),  # whatever follows
        ("/deeper/…", {"/"}),
        ("/dee…", {"/", "/deep"}),  # deep or deed
        ("/deep…", {"/", "/deep"}),  # deep or deeper
        ("", {"/", "/deep"}),
    ],
)
def test_a_path_that_was_cut_narrows_where_its_end_cannot_matter(path: str, expected: set[str]) -> None:
    (row,) = judged(build([*CLUSTER, TWO_HOSTS]), leg(PROXY, WEB_IP, WEB), server_name=["a.example"], path=[path])
    told = row["ingress_candidates"] or [row["ingress"]]
    assert {(candidate["host"], candidate["path"]) for candidate in told} == {("a.example", each) for each in expected}
    assert row["reason"] == ("head" if len(expected) == 1 else "ambiguous_route")


def test_what_has_one_route_anyway_is_exact_with_a_head_and_without() -> None:
    rows = judged(
        build([*CLUSTER, SITE]),
        *[leg(PROXY, WEB_IP, WEB)] * 2,
        leg(STRANGER, WEB_IP, WEB),
        server_name=["a.example", "", "a.example"],
        path=["/", "", "/"],
    )
    assert [named(row) for row in rows] == [("site", "a.example", "/")] * 2 + [None]
    assert [(row["attribution"], row["reason"]) for row in rows] == [("exact", "")] * 3


def test_a_host_alone_leaves_its_paths_and_an_unknown_one_leaves_everything() -> None:
    flows = [leg(PROXY, WEB_IP, WEB)] * 3
    rows = judged(build([*CLUSTER, TWO_HOSTS]), *flows, server_name=["a.example", "z.example", None])
    told = [row["ingress_candidates"] and [(c["host"], c["path"]) for c in row["ingress_candidates"]] for row in rows]
    assert told[0] == [("a.example", "/"), ("a.example", "/deep")]
    assert told[1] is None
    assert (rows[1]["ingress"]["host"], rows[1]["ingress"]["path"]) == (None, "/")
    assert len(told[2]) == 3


def test_labels_tell_what_candidates_agree_on() -> None:
    snapshot = build([*CLUSTER, TWO_HOSTS])
    flows = frame_of([leg(PROXY, WEB_IP, WEB), leg(STRANGER, WEB_IP, WEB)])
    labels = with_labels(attribute(flows, snapshot).lazy(), snapshot).select(*ROUTE_LABELS).collect().rows()
    assert labels == [("Ingress", "shop", "two", SEVERAL, SEVERAL, "false"), ("", "", "", "", "", "")]


def test_a_route_holds_for_the_time_that_it_was_there() -> None:
    snapshot = build([*CLUSTER, SITE])
    routes = snapshot.tracked["routes"].with_columns(since=pl.lit(100, pl.Int64), until=pl.lit(200, pl.Int64))
    past = Snapshot(**{**vars(snapshot), "tracked": {**snapshot.tracked, "routes": routes}})
    flows = [Flow("n1", PROXY, WEB, WEB, PROXY, 8080, 6, 8080, start) for start in (99, 100, 199, 200)]
    rows = judged(past, *flows)
    assert [named(row) is not None for row in rows] == [False, True, True, False]
    assert [row["service"] is not None for row in rows] == [False, True, True, False]


def test_a_watched_cluster_has_its_routes_over_time() -> None:
    history = History()
    history.begin()
    for item in CLUSTER:
        history.put(0, item)
    history.synced(0)
    second = 1_000_000_000
    history.put(10 * second, SITE)
    before = history.snapshot()
    history.put(20 * second, ingress("site", ("new.example", "/", "web", 80)))
    history.put(25 * second, pod("proxy-2", "10.8.0.7", namespace="edge", labels=NGINX, on="n1"))
    history.delete(30 * second, "networking.k8s.io/v1", "Ingress", "shop", "site")
    after = history.snapshot()
    at = [Flow("n1", source, WEB_IP, WEB, source, 80, 6, 8080, t * second) for source, t in AT]
    hosts = [row["ingress"] and row["ingress"]["host"] for row in judged(after, *at)]
    assert hosts == [None, "a.example", "new.example", "new.example", None]
    (early,) = judged(before, at[1])
    assert early["ingress"]["host"] == "a.example"


AT = ((PROXY, 5), (PROXY, 15), (PROXY, 22), ("10.8.0.7", 27), (PROXY, 35))


def test_without_routes_nothing_is_a_routes() -> None:
    rows = judged(build(CLUSTER), leg(PROXY, WEB_IP, WEB), direct(PROXY, WEB))
    assert [(named(row), row["ingress_candidates"]) for row in rows] == [(None, None)] * 2
