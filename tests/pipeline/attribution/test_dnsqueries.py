"""Who asked, what kind of name, and past whom: on a cluster small enough to check by hand."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.attribution.dnsqueries import NAME_CLASSES, attribute_dns, name_classes
from pipeline.inventory.snapshot import Snapshot
from tests.pipeline.attribution.dns_answers import FRONT, SECOND, Answer
from tests.pipeline.dns_cluster import BEYOND, DNS_POD, DNS_SERVICE, NODE_LOCAL, asked, dns_cluster
from tests.pipeline.small_cluster import service, small_cluster

CLUSTER = dns_cluster()
OTHER_FRONT = "10.0.2.5"
SEARCHES = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")
"""The search list of a pod in the namespace `shop`, as the kubelet writes it."""


def classes(*names: str, snapshot: Snapshot = CLUSTER, domain: str = "cluster.local") -> list[str]:
    return name_classes(pl.Series(names, dtype=pl.String), snapshot, domain).to_list()


@pytest.mark.parametrize(
    ("name", "name_class"),
    [
        ("database.shop.svc.cluster.local", "service"),
        ("peers.shop.svc.cluster.local", "headless"),
        ("database-0.peers.shop.svc.cluster.local", "pod"),
        ("10-0-1-5.shop.pod.cluster.local", "pod"),
        ("10-0-1-99.shop.pod.cluster.local", "cluster_unknown"),
        ("databse.shop.svc.cluster.local", "cluster_unknown"),  # a slip of the pen, not of a search list
        ("gone-7.peers.shop.svc.cluster.local", "cluster_unknown"),
        ("_http._tcp.front.shop.svc.cluster.local", "cluster_unknown"),
        ("_http._tcp.gone.shop.svc.cluster.local", "cluster_unknown"),
        ("cluster.local", "cluster_unknown"),
        ("svc.cluster.local", "cluster_unknown"),
        ("shop.svc.cluster.local", "cluster_unknown"),  # the namespace itself
        ("database.svc.cluster.local", "search"),
        ("database.cluster.local", "search"),
        ("www.example.com.shop.svc.cluster.local", "search"),
        ("example.com.svc.cluster.local", "search"),
        ("www.example.com.svc.cluster.local", "search"),
        ("www.example.com.cluster.local", "search"),
        ("database.shop.svc.cluster.local.shop.svc.cluster.local", "search"),
        ("database.shop.svc.cluster.local.cluster.local", "search"),
        ("database.shop.shop.svc.cluster.local", "search"),  # `database.shop`, asked from `shop`
        ("5.1.0.10.in-addr.arpa.cluster.local", "search"),
        ("5.1.0.10.in-addr.arpa", "reverse"),
        ("1.0.0.ip6.arpa", "reverse"),
        ("database", "single_label"),
        ("", "single_label"),
        ("www.example.com", "outside"),
        ("notcluster.local", "outside"),
    ],
)
def test_every_kind_of_name_has_its_class(name: str, name_class: str) -> None:
    assert classes(name) == [name_class]


def test_a_headless_service_needs_no_ports() -> None:
    """JobSet's and MPI's have none: they are there for their pods' names."""
    snapshot = small_cluster(service("workers", "None", 0, ports=None))
    assert classes("workers.shop.svc.cluster.local", snapshot=snapshot) == ["headless"]


@pytest.mark.parametrize("name", ["www.example.com", "api.example.com", "a.b.c.d", "example.com"])
def test_whatever_a_search_list_makes_of_a_name_beyond_is_told(name: str) -> None:
    assert classes(*(f"{name}.{search}" for search in SEARCHES)) == ["search"] * 3
    assert classes(name) == ["outside"]


def test_the_domain_is_a_setting() -> None:
    names = ("database.shop.svc.k8s.example.org", "x.y.k8s.example.org", "database.shop.svc.cluster.local")
    assert classes(*names, domain="k8s.example.org") == ["service", "search", "outside"]


label = st.sampled_from(
    ["shop", "svc", "pod", "cluster", "local", "database", "peers", "_tcp", "10-0-1-5", "com", "", "é"]
)


@settings(deadline=None)  # a shared machine may pause
@given(st.lists(st.lists(label, max_size=8).map(".".join), max_size=20))
def test_any_name_has_one_class_whatever_stands_beside_it(names: list[str]) -> None:
    found = classes(*names)
    assert set(found) <= set(NAME_CLASSES)
    assert found == [one for name in names for one in classes(name)]


def test_an_exchange_with_several_answers_is_one() -> None:
    rows = [Answer("a.example.com", 100, address=f"203.0.113.{n}", is_first=n == 1) for n in (1, 2, 3)]
    frame = asked(*rows, Answer("b.example.com", 101, latency_ns=3 * SECOND))
    assert frame["question"].to_list() == ["a.example.com", "b.example.com"]
    assert frame["start"].to_list() == [100 * SECOND - 250_000, 98 * SECOND]


def test_nonsense_latency_stays_within_bounds() -> None:
    """What a broken collector says breaks nothing."""
    assert asked(Answer("a.example.com", 100, latency_ns=2**64 - 1))["start"].to_list() == [40 * SECOND]


def attributed(*answers: Answer, snapshot: Snapshot = CLUSTER) -> pl.DataFrame:
    return attribute_dns(asked(*answers), snapshot)


def test_the_client_is_named_and_rows_keep_their_order() -> None:
    clients = (FRONT, "10.0.2.7", OTHER_FRONT, "10.0.9.9", FRONT)
    frame = attributed(*(Answer(f"{n}.example.com", 100, client) for n, client in enumerate(clients)))
    names = CLUSTER.endpoints["name"].gather(frame["src_id"]).to_list()
    assert names[:3] == ["front-1-x", "database-0", "front-1-y"]
    assert names[4] == "front-1-x"
    assert frame["question"].to_list() == [f"{n}.example.com" for n in range(5)]


@pytest.mark.parametrize(
    ("client", "server", "is_bypass"),
    [
        (FRONT, DNS_SERVICE, False),
        (FRONT, DNS_POD, False),
        (FRONT, NODE_LOCAL, False),
        (FRONT, BEYOND, True),
        (FRONT, "10.0.2.7", True),  # a pod that is behind no Service's port 53
        (DNS_POD, BEYOND, False),  # the cluster's DNS asks on
        ("192.0.2.10", BEYOND, False),  # a node is no pod
    ],
)
def test_who_goes_past_the_clusters_dns(client: str, server: str, *, is_bypass: bool) -> None:
    frame = attributed(Answer("www.example.com", 100, client, server=server))
    assert frame["is_bypass"].to_list() == [is_bypass]


def test_the_clusters_dns_may_listen_elsewhere_behind_its_service() -> None:
    """OpenShift's listens on 5353."""
    exchanges = [
        Answer("a.example.com", 100, DNS_POD, server=BEYOND),
        Answer("b.example.com", 100, FRONT, server=BEYOND),
    ]
    frame = attributed(*exchanges, snapshot=dns_cluster(pod_port=5353))
    assert frame["is_bypass"].to_list() == [False, True]


def test_where_no_dns_is_known_nothing_goes_past_it() -> None:
    frame = attributed(Answer("www.example.com", 100, FRONT, server=BEYOND), snapshot=small_cluster())
    assert frame["is_bypass"].to_list() == [False]
