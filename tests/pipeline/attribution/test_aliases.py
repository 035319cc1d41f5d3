"""Services told by the DNS name that a client was given: one alone, by port and protocol, as of the connection."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from pipeline.attribution import attribute
from pipeline.attribution.aliases import has_aliases, join_aliases, may_be_alias
from pipeline.inventory.snapshot import Snapshot
from tests.pipeline.attribution.cluster import Flow
from tests.pipeline.attribution.dns_answers import FRONT, SECOND, SITE
from tests.pipeline.attribution.frames import frame_of, service_of
from tests.pipeline.small_cluster import service, small_cluster

SECOND_FRONT = "10.0.2.5"
OWN = "mail.shop.svc.cluster.local"
UNTOLD = (None, None, "exact", "")


def external(name: str, target: str = "mail.example.com", **more: Any) -> dict[str, Any]:
    return service(name, "", 25, type="ExternalName", externalName=target, **more)


def balanced(name: str, hostname: str) -> dict[str, Any]:
    status = {"loadBalancer": {"ingress": [{"hostname": hostname}]}}
    return {**service(name, "10.96.0.30", 443, type="LoadBalancer"), "status": status}


def flow(port: int = 25, protocol: int = 6, src: str = FRONT, dst: str = SITE, at: int = 1) -> Flow:
    return Flow("node-a", src, dst, dst, src, port, protocol, port, at * SECOND)


def told(snapshot: Snapshot, *named: tuple[Flow, str | None]) -> list[tuple[Any, ...]]:
    """The Service, `via`, `attribution` and `reason` of flows with these names."""
    names = pl.Series("dns_name", [name for _, name in named], dtype=pl.String)
    flows = attribute(frame_of([one for one, _ in named]), snapshot).with_columns(names)
    joined = join_aliases(flows.lazy(), snapshot).collect()
    assert joined.schema == flows.schema
    assert joined["row"].to_list() == flows["row"].to_list()
    rows = joined.select("service_id", "via", "attribution", "reason").rows()
    return [(service_of(number, snapshot), *rest) for number, *rest in rows]


def by_alias(name: str, port: str) -> tuple[Any, ...]:
    return ((name, port), "alias", "inferred", "dns_alias")


def test_the_name_asked_for_and_the_name_it_stands_for_tell_the_service() -> None:
    snapshot = small_cluster(external("mail"), balanced("web", "lb.example.com"))
    flows = [(flow(), OWN), (flow(), "mail.example.com"), (flow(443), "lb.example.com"), (flow(), None)]
    assert told(snapshot, *flows) == [by_alias("mail", "25"), by_alias("mail", "25"), by_alias("web", "443"), UNTOLD]


@pytest.mark.parametrize(
    ("one", "name"),
    [(flow(26), OWN), (flow(protocol=17), OWN), (flow(), "mail.example.org"), (flow(), "web.shop.svc.cluster.local")],
)
def test_port_protocol_and_name_must_fit(one: Flow, name: str) -> None:
    assert told(small_cluster(external("mail"), balanced("web", "lb.example.com")), (one, name)) == [UNTOLD]


def test_of_several_services_with_the_name_none_is_told() -> None:
    snapshot = small_cluster(external("mail"), external("post"))
    assert told(snapshot, (flow(), "mail.example.com"), (flow(), OWN)) == [UNTOLD, by_alias("mail", "25")]


def test_a_service_that_was_dialled_stays() -> None:
    snapshot = small_cluster(external("mail", ports=[{"port": 5432}]))
    ((found, via, *_),) = told(snapshot, (flow(5432, dst="10.96.0.7"), OWN))
    assert (found, via) == (("database", "5432"), "cluster_ip")


def test_a_worse_reason_stays() -> None:
    """Nothing held the source's address, which is the cluster's own."""
    assert told(small_cluster(external("mail")), (flow(src="10.0.1.99"), OWN)) == [
        (("mail", "25"), "alias", "unknown", "unknown_source")
    ]


def test_an_alias_counts_while_it_is_declared() -> None:
    snapshot = small_cluster(external("mail"))
    spans = snapshot.tracked["service_aliases"].with_columns(
        since=pl.lit(5 * SECOND, pl.Int64), until=pl.lit(9 * SECOND, pl.Int64)
    )
    snapshot = replace(snapshot, tracked={**snapshot.tracked, "service_aliases": spans})
    found = told(snapshot, *((flow(at=at), OWN) for at in (4, 5, 8, 9)))
    assert found == [UNTOLD, by_alias("mail", "25"), by_alias("mail", "25"), UNTOLD]


def test_a_name_is_expected_soon_after_a_connection_beyond_the_cluster_to_an_aliass_port() -> None:
    snapshot = small_cluster(external("mail"))
    flows = [flow(), flow(), flow(26), flow(protocol=17), flow(dst=SECOND_FRONT)]
    named = attribute(frame_of(flows), snapshot)
    seen_s = pl.Series("time", [2, 4, 2, 2, 2], dtype=pl.Int64)
    assert may_be_alias(named.with_columns(seen_s * SECOND), snapshot).to_list() == [True, False, False, False, False]


def test_without_ports_there_is_no_service_port_to_tell() -> None:
    assert has_aliases(small_cluster(external("mail")))
    assert not has_aliases(small_cluster(external("mail", ports=None)))


def test_another_domain() -> None:
    snapshot = small_cluster(external("mail"))
    name = pl.Series("dns_name", ["mail.shop.svc.k8s.corp"])
    flows = attribute(frame_of([flow()]), snapshot).with_columns(name)
    joined = join_aliases(flows.lazy(), snapshot, "k8s.corp").collect()
    assert service_of(joined["service_id"][0], snapshot) == ("mail", "25")
