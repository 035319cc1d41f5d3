"""The engine with a lake: what the history says of what the metrics count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collector.schema import OUTCOMES
from deploy.demo import mmdb
from pipeline.geo import load_geo
from pipeline.inventory.policy_history import PolicyEpoch
from pipeline.inventory.spans import BEGINNING
from pipeline.outputs.lake import Lake
from pipeline.query import scan_counters, scan_dns, scan_flows
from pipeline.state import ClusterState
from tests.pipeline.attribution import dns_answers
from tests.pipeline.engine_bench import (
    DATABASE,
    DATABASE_VIP,
    FRONT_A,
    FRONT_B,
    Bench,
    counters,
    policies,
    through_service,
)
from tests.pipeline.shipments import NOW, SECOND, batch, flow, message
from tests.pipeline.small_cluster import service, small_cluster


def test_the_history_says_what_policies_said(tmp_path: Path) -> None:
    bench = Bench([through_service(0, outcome=OUTCOMES.index("reset"), closed=1)], lake=Lake(tmp_path))
    bench.state = replace(bench.state, epochs=(PolicyEpoch(BEGINNING, policies()[:1]),))
    bench.drain()
    (row,) = scan_flows(tmp_path).collect().to_dicts()
    wanted = {
        "verdict": "denied",
        "egress_verdict": "unprotected",
        "ingress_verdict": "denied",
        "egress_policies": [],
        "ingress_policies": ["isolates NetworkPolicy/shop/deny/"],
        "mismatch": "established_denied",
    }
    assert {name: row[name] for name in wanted} == wanted


def test_the_history_names_what_the_metrics_count(tmp_path: Path) -> None:
    bench = Bench([through_service(0, outcome=OUTCOMES.index("reset"), closed=1)], lake=Lake(tmp_path))
    bench.drain()
    (row,) = scan_flows(tmp_path).collect().to_dicts()
    wanted = {
        "node": "node-a",
        "source_kind": "Pod",
        "source_name": "front-1-x",
        "source_workload": "front",
        "destination_name": "database-0",
        "destination_node": "node-b",
        "service_namespace": "shop",
        "service": "database",
        "via": "cluster_ip",
        "src_ip": FRONT_A,
        "dst_ip": DATABASE_VIP,
        "backend_ip": DATABASE,
        "protocol": 6,
        "role": "canonical",
        "outcome": "reset",
        "opened": 1,
        "bytes": 1000,
    }
    assert {name: row[name] for name in wanted} == wanted
    assert row["time"].isoformat() == "2026-03-01T12:00:01+00:00"


def test_where_dns_told_no_name_the_history_has_the_one_that_the_client_asked_for(tmp_path: Path) -> None:
    """Of the outside alone, on every row of the connection; an address that was asked for is no name."""
    site, other, third = "203.0.113.7", "203.0.113.8", "203.0.113.9"
    answer = dns_answers.Answer("site.example", at=NOW // SECOND - 1, client=FRONT_A, address=site, ttl=30)
    said: dict[str, Any] = {"app_protocol": 1, "server_name": "said.example"}
    flows = [
        flow(FRONT_A, site, 443, flow_id=1, **said),
        flow(FRONT_A, other, 443, flow_id=2, **said),
        flow(FRONT_A, third, 80, flow_id=3, app_protocol=2, server_name=third),
        flow(FRONT_A, DATABASE, 5432, flow_id=4, **said),
    ]
    first = message(batch("node-a", 0, flows))
    later = message(batch("node-a", 1, [flow(FRONT_A, other, 443, flow_id=2, opened=0)]))
    bench = Bench([first, message(dns_answers.batch_of([answer], seq=9))], [later], lake=Lake(tmp_path))
    bench.drain()
    rows = scan_flows(tmp_path).select("dst_ip", "dns_name", "dns_given").collect().rows()
    assert sorted(rows) == [
        (DATABASE, "", ""),
        (site, "site.example", "exact"),
        (other, "said.example", "sni"),
        (other, "said.example", "sni"),
        (third, "", ""),
    ]


def test_the_history_has_the_name_that_dns_gave_the_client(tmp_path: Path) -> None:
    """The answer and the connection come in one poll, and a later connection in the next."""
    site, now_s = "203.0.113.7", NOW // SECOND
    answer = dns_answers.batch_of(
        [dns_answers.Answer("site.example", at=now_s - 1, client=FRONT_A, address=site, ttl=30)], seq=9
    )
    first = message(batch("node-a", 0, [flow(FRONT_A, site, 443), flow(FRONT_A, DATABASE, 5432)]))
    later = message(batch("node-a", 1, [flow(FRONT_A, site, 443)]))
    bench = Bench([first, message(answer)], [later], lake=Lake(tmp_path))
    bench.drain()
    rows = (
        scan_flows(tmp_path).select("dst_ip", "destination_name", "dns_name", "dns_given", "locality").collect().rows()
    )
    assert sorted(rows) == sorted(
        [(site, "outside", "site.example", "exact", "internet")] * 2 + [(DATABASE, "database-0", "", "", "unknown")]
    )


@pytest.mark.parametrize("has_lake", [False, True])
def test_a_service_that_has_only_a_dns_name_is_counted_by_it(tmp_path: Path, *, has_lake: bool) -> None:
    site, other, now_s = "203.0.113.7", "203.0.113.8", NOW // SECOND
    answer = dns_answers.batch_of(
        [dns_answers.Answer("mail.shop.svc.cluster.local", at=now_s - 1, client=FRONT_A, address=site, ttl=30)], seq=9
    )
    flows = message(batch("node-a", 0, [flow(FRONT_A, site, 25), flow(FRONT_A, site, 443), flow(FRONT_A, other, 25)]))
    bench = Bench([flows, message(answer)], lake=Lake(tmp_path) if has_lake else None, wait_s=0.1)
    alias = service("mail", "", 25, type="ExternalName", externalName="mail.example.com")
    bench.state = ClusterState(small_cluster(alias), {})
    bench.drain()
    dialled = bench.values("flowatlas_service_connections_total", "service", "service_type", "via")
    assert dialled == {("mail", "ExternalName", "alias"): 1}
    assert bench.values("flowatlas_service_no_endpoint_connections_total") == {}
    if has_lake:
        rows = scan_flows(tmp_path).select("dst_ip", "dst_port", "service", "dns_name", "reason").collect().rows()
        own = "mail.shop.svc.cluster.local"
        assert sorted(rows) == [(site, 25, "mail", own, "dns_alias"), (site, 443, "", own, ""), (other, 25, "", "", "")]


@pytest.mark.parametrize("has_geo", [True, False])
def test_country_and_network_are_in_metric_and_history(tmp_path: Path, *, has_geo: bool) -> None:
    site, unknown = "203.0.113.7", "198.51.100.1"
    record = {**mmdb.country("DE"), **mmdb.system(64500, "Example Net")}
    geo = load_geo([mmdb.write(tmp_path / "all.mmdb", {"203.0.113.0/24": record})]) if has_geo else None
    rows = [flow(FRONT_A, site, 443), flow(site, FRONT_A, 80), flow(FRONT_A, unknown, 443), flow(FRONT_A, FRONT_B, 80)]
    bench = Bench([message(batch("node-a", 0, rows))], lake=Lake(tmp_path), geo=geo)
    bench.drain()
    found = bench.values("flowatlas_external_bytes_total", "workload", "direction", "country", "asn", "organisation")
    history = scan_flows(tmp_path).select("source_country", "source_asn", "destination_country", "destination_asn")
    if not has_geo:
        assert found == {}
        assert set(history.collect().rows()) == {("", 0, "", 0)}
        return
    sent = bench.values("flowatlas_external_bytes_total", "workload", "direction")
    known, nothing = ("DE", "64500", "Example Net"), ("", "", "")
    assert found == {
        ("front", direction, *network): total
        for direction in ("egress", "ingress")
        for network, total in ((known, 2000), (nothing, 1000))
    }
    assert sent == {("front", "egress"): 3000, ("front", "ingress"): 3000}
    told = sorted(history.collect().rows())
    assert told == [("", 0, "", 0), ("", 0, "", 0), ("", 0, "DE", 64500), ("DE", 64500, "", 0)]
    assert bench.values("flowatlas_pipeline_geo_failures_total") == {(): 0}


def test_counters_and_dns_are_in_the_history_with_names(tmp_path: Path) -> None:
    """Of pods that are known and of nodes; an exchange once, however many addresses it told."""
    answer = dns_answers.Answer("site.example", at=NOW // SECOND, client=FRONT_A, address="203.0.113.7", ttl=30)
    messages = [counters(0, FRONT_A, "10.0.1.77"), counters(1, FRONT_A, scope=1)]
    bench = Bench([*messages, message(dns_answers.batch_of([answer], seq=9))], lake=Lake(tmp_path))
    bench.drain()
    names = ("node", "scope", "namespace", "pod", "interface", "receive_bytes")
    told = scan_counters(tmp_path).select(names).collect().sort("scope").rows()
    assert [row[:4] for row in told] == [("node-a", "node", "", ""), ("node-a", "pod", "shop", "front-1-x")]
    assert all(row[5] > 0 for row in told)
    (exchange,) = scan_dns(tmp_path, namespace="shop").collect().to_dicts()
    assert exchange["question"] == "site.example"
    assert (exchange["source_name"], exchange["client_ip"], exchange["name_class"]) == ("front-1-x", FRONT_A, "outside")
