"""What Services declare beyond addresses and ports."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pipeline.inventory.models import convert
from pipeline.inventory.snapshot import Snapshot, build
from tests.pipeline.small_cluster import service


def traits(**spec: Any) -> list[tuple[Any, ...]]:
    snapshot = build([convert("v1", "Service", service("web", "10.96.0.5", 80, **spec))])
    return snapshot.tracked["service_ports"].drop("since", "until").rows()


def aliases(snapshot: Snapshot) -> list[tuple[Any, ...]]:
    return snapshot.tracked["service_aliases"].drop("since", "until").rows()


@pytest.mark.parametrize(
    ("spec", "is_headless", "affinity_s"),
    [
        ({}, False, 0),
        ({"sessionAffinity": "None"}, False, 0),
        ({"sessionAffinity": "ClientIP"}, False, 10_800),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {}}}, False, 10_800),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 30}}}, False, 30),
        ({"sessionAffinity": "None", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 30}}}, False, 0),
        ({"clusterIP": "None", "clusterIPs": ["None"]}, True, 0),
        ({"clusterIP": None, "clusterIPs": None}, False, 0),
    ],
)
def test_traits_of_a_port(spec: dict[str, Any], is_headless: bool, affinity_s: int) -> None:
    assert traits(**spec) == [("shop", "web", "80", is_headless, affinity_s)]


def test_every_port_has_a_row_under_its_label() -> None:
    ports = [{"port": 80, "name": "http"}, {"port": 443, "name": "https"}]
    assert [row[2] for row in traits(ports=ports)] == ["http", "https"]


def test_an_alias_is_no_port_and_its_name_is_as_resolvers_write_it() -> None:
    body = service("mail", "", 25, type="ExternalName", externalName="Mail.Example.COM.")
    snapshot = build([convert("v1", "Service", body)])
    assert snapshot.tracked["service_ports"].is_empty()
    assert aliases(snapshot) == [("shop", "mail", "ExternalName", "25", 25, 6, "mail.example.com")]


def test_a_load_balancers_host_name_is_an_alias_where_it_has_no_address() -> None:
    ingress = [{"hostname": "LB.example.com."}, {"hostname": "other.example.com", "ip": "203.0.113.9"}]
    status = {"loadBalancer": {"ingress": ingress}}
    told, untold = (
        aliases(build([convert("v1", "Service", {**service("web", "10.96.0.5", 80, type=kind), "status": status})]))
        for kind in ("LoadBalancer", "ClusterIP")
    )
    assert told == [("shop", "web", "LoadBalancer", "80", 80, 6, "lb.example.com")]
    assert untold == []


def test_an_alias_without_ports_has_no_row() -> None:
    body = service("mail", "", 25, type="ExternalName", externalName="mail.example.com", ports=None)
    assert aliases(build([convert("v1", "Service", body)])) == []


def test_a_timeout_beyond_the_apis_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="timeoutSeconds"):
        traits(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 86_401}})
