"""Who else is behind a Service that was dialled is allowed too: as of the record, and nothing that is denied today."""

from __future__ import annotations

from typing import Any

import polars as pl

from pipeline.attribution.policies import compile_policies
from pipeline.inventory import snapshot
from pipeline.inventory.models import Resource, convert
from pipeline.policy import legitimate, manifest
from pipeline.policy.behind import with_others_behind
from pipeline.policy.ends import judged
from pipeline.policy.record import record_of
from pipeline.policy.suggestion import suggest
from tests.pipeline.policy.histories import START, cluster, history, policy, seen

STORE = {"service_namespace": "shop", "service": "store", "service_port": "main"}


def service() -> list[Resource]:
    """A Service in front of all of namespace shop, at 5432."""
    ports = [{"name": "main", "port": 80, "targetPort": 5432}]
    body = {
        "metadata": {"name": "store", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.1", "ports": ports, "selector": {}},
    }
    endpoints = [
        {"addresses": [ip], "conditions": {"ready": ready}} for ip, ready in (("10.0.0.1", False), ("10.0.0.3", True))
    ]
    slice_ = {
        "metadata": {"name": "store-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "store"}},
        "addressType": "IPv4",
        "ports": [{"name": "main", "port": 5432, "protocol": "TCP"}],
        "endpoints": endpoints,
    }
    return [convert("v1", "Service", body), convert("discovery.k8s.io/v1", "EndpointSlice", slice_)]


def whole(rows: list[dict[str, Any]], *policies: Resource, **options: Any) -> tuple[pl.DataFrame, Any]:
    objects, _, _ = cluster(*policies)
    objects += service()
    known = snapshot.build(objects)
    compiled = compile_policies(objects, known)
    found = judged(record_of(history(*rows)).pairs, known).pairs
    pairs = legitimate.sorted_out(found, compiled, **options)
    return with_others_behind(pairs, known, compiled, **options), known


def ends(pairs: pl.DataFrame) -> list[tuple[str, str, int, int]]:
    return pairs.select("source_workload", "destination_workload", "port", "counted").rows()


def test_the_other_workloads_behind_the_service_are_added_and_count_nothing() -> None:
    pairs, known = whole([seen("job-9", "db-0", 5432, **STORE)])
    assert ends(pairs) == [("job-9", "db", 5432, 1), ("job-9", "web", 5432, 0)]
    policies = {item.name: item for item in suggest(known, pairs, "shop")}
    assert set(policies) == {"allow-db", "allow-web"}
    (rule,) = policies["allow-web"].ingress
    assert (rule.evidence.connections, rule.evidence.last_seen) == (0, None)
    assert rule.evidence.callers == ("batch/job-9",)
    text = manifest.rendered([policies["allow-web"]], [])
    assert "  # none recorded, but behind a Service that was dialled: batch/job-9\n" in text
    (caller,) = suggest(known, pairs, "batch")
    assert len(caller.egress) == 3  # both workloads, and names


def test_what_was_dialled_straight_or_failed_adds_nothing() -> None:
    straight, _ = whole([seen("job-9", "db-0", 5432)])
    assert ends(straight) == [("job-9", "db", 5432, 1)]
    failed, _ = whole([seen("job-9", "db-0", 5432, outcome="refused", **STORE)])
    assert failed.height == 1
    other, _ = whole([seen("job-9", "db-0", 5432, **STORE | {"service_port": "admin"})])
    assert other.height == 1


def test_what_is_denied_or_ruled_out_is_not_added() -> None:
    rows = [seen("job-9", "db-0", 5432, **STORE)]
    guard = policy("guard", podSelector={"matchLabels": {"app": "web"}}, policyTypes=["Ingress"])
    assert whole(rows, guard)[0].height == 1
    assert whole(rows, guard, include=("denied",))[0].height == 2
    assert whole(rows, exclude=("shop/web",))[0].height == 1


def test_each_is_added_once_however_many_were_recorded() -> None:
    rows = [
        seen("web-1", "db-0", 5432, **STORE),
        seen("web-2", "db-0", 5432, **STORE),
        seen("web-2", "web-1", 5432, **STORE),
        seen("job-9", "db-0", 5432, **STORE),
    ]
    pairs, _ = whole(rows)
    added = pairs.filter(pl.col("connections") == 0)
    assert ends(added) == [("job-9", "web", 5432, 0)]
    assert pairs.height == 5


def test_a_record_tells_by_which_services_a_pair_was_dialled() -> None:
    rows = [
        seen("web-1", "db-0", 5432, **STORE),
        seen("web-1", "db-0", 5432),
        seen("web-1", "db-0", 5432, **STORE | {"service": "another"}, time=START.replace(day=2)),
    ]
    assert record_of(history(*rows)).pairs["services"].to_list() == [["shop/another/main", "shop/store/main"]]
    assert record_of(history(rows[1])).pairs["services"].to_list() == [[]]
