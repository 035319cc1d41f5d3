"""Policy metrics equal a row-at-a-time count of what the engine says; gauges tell how pods stand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import polars as pl

from pipeline.aggregate.policies import PolicyMetrics
from pipeline.attribution.policies import PolicyTimeline, compile_policies
from pipeline.attribution.policies.mismatches import MISMATCH
from pipeline.attribution.roles import ROLES
from pipeline.catalog import BY_NAME
from pipeline.inventory import snapshot
from pipeline.inventory.history import PolicyEpoch
from pipeline.inventory.models import Resource, convert
from pipeline.inventory.spans import BEGINNING
from tests.pipeline.attribution.policies.clusters import Draw
from tests.pipeline.attribution.policies.timelines import flows_of
from tests.pipeline.inventory.objects import pod

Counts = dict[str, Counter[tuple[str, ...]]]


def metrics_of(objects: list[Resource]) -> tuple[PolicyTimeline, PolicyMetrics, snapshot.Snapshot]:
    cluster = snapshot.build(objects)
    policies = PolicyTimeline()
    policies.use(cluster, [PolicyEpoch(BEGINNING, tuple(objects))])
    metrics = PolicyMetrics(policies)
    metrics.use(cluster)
    return policies, metrics, cluster


def seen(flows: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Flows with numbers and marks that have nothing to do with the verdicts."""
    random = np.random.default_rng(seed)
    size = flows.height
    return flows.with_columns(
        bytes=pl.Series(random.integers(0, 2**40, size, dtype=np.uint64)),
        reply_bytes=pl.Series(random.integers(0, 2**40, size, dtype=np.uint64)),
        opened=pl.Series(random.integers(0, 2, size, dtype=np.uint8)),
        role=pl.Series(random.choice(["canonical", "canonical", "observer"], size).tolist(), dtype=ROLES),
        mismatch=pl.Series(random.choice([None, None, *MISMATCH.categories.to_list()], size).tolist(), dtype=MISMATCH),
    )


def exposed(metrics: PolicyMetrics) -> Counts:
    found: Counts = {}
    for samples in metrics.samples():
        keys = samples.labels.rows()
        assert len(set(keys)) == len(keys), "a series is there twice"
        found[samples.metric.name] = Counter(dict(zip(keys, samples.values.to_list(), strict=True)))
    return found


def coverage(side: dict[str, Any]) -> str:
    if side["verdict"] != "allowed":
        return str(side["verdict"]).replace(" ", "_")
    return "explicit" if any(policy["effect"] == "allow" for policy in side["policies"]) else "default_allow"


def counted(objects: list[Resource], cluster: snapshot.Snapshot, flows: pl.DataFrame) -> Counts:
    """One row at a time."""
    counts: Counts = {f"flowatlas_policy_{name}": Counter() for name in ("bytes_total", "connections_total")}
    covered = counts["flowatlas_policy_coverage_bytes_total"] = Counter()
    mismatches = counts["flowatlas_policy_mismatch_connections_total"] = Counter()
    ends = cluster.endpoints.rows(named=True)
    answers = compile_policies(objects, cluster).judge(flows).rows(named=True)
    for row, answer in zip(flows.rows(named=True), answers, strict=True):
        if row["mismatch"] is not None:
            pair = (
                ends[row[end]][k] for end in ("src_id", "dst_id") for k in ("namespace", "workload", "workload_kind")
            )
            mismatches[row["mismatch"], *pair] += 1
        if row["role"] != "canonical" or answer["verdict"] is None:
            continue
        both_ways = row["bytes"] + row["reply_bytes"]
        for direction, column, end in (("egress", "egress", "src_id"), ("ingress", "ingress_policy", "dst_id")):
            side, subject = answer[column], ends[row[end]]
            for policy in side["policies"]:
                name = (policy["name"], policy["namespace"] or "", policy["kind"], policy["rule"] or "")
                labels = (*name, side["verdict"], direction)
                counts["flowatlas_policy_bytes_total"][labels] += both_ways
                counts["flowatlas_policy_connections_total"][labels] += row["opened"]
            if subject["kind"] == "Pod":
                workload = (subject["namespace"], subject["workload"], subject["workload_kind"])
                covered[*workload, direction, coverage(side)] += both_ways
    return counts


def test_metrics_equal_a_count_by_hand() -> None:
    for seed in range(12):
        objects = [convert(item["apiVersion"], item["kind"], item) for item in Draw(seed).objects()]
        policies, metrics, cluster = metrics_of(objects)
        expected: Counts = {}
        for window in range(2):
            flows = seen(policies.judge(flows_of(cluster, [0] * 60, seed + window)), seed + window)
            metrics.add_sums(flows)
            metrics.add(flows)
            for name, counts in counted(objects, cluster, flows).items():
                expected.setdefault(name, Counter()).update(counts)
        found = exposed(metrics)
        assert {name: found[name] for name in expected} == expected
        assert all(found[name].keys() == expected[name].keys() for name in expected)


def test_coverage_is_every_byte_of_pods_once_a_direction() -> None:
    objects = [convert(item["apiVersion"], item["kind"], item) for item in Draw(5).objects()]
    policies, metrics, cluster = metrics_of(objects)
    flows = seen(policies.judge(flows_of(cluster, [0] * 200, 5)), 5)
    metrics.add_sums(flows)
    metrics.add(flows)
    is_pod = pl.lit(cluster.endpoints["kind"] == "Pod")
    counted_rows = flows.filter(pl.col("role") == "canonical")
    whole = sum(
        counted_rows.filter(is_pod.gather(end)).select(pl.col("bytes") + pl.col("reply_bytes")).sum().item()
        for end in ("src_id", "dst_id")
    )
    assert exposed(metrics)["flowatlas_policy_coverage_bytes_total"].total() == whole > 0


def policy(name: str, spec: dict[str, Any]) -> Resource:
    body = {"kind": "NetworkPolicy", "metadata": {"name": name, "namespace": "shop"}, "spec": spec}
    return convert("networking.k8s.io/v1", "NetworkPolicy", body)


def test_gauges_tell_how_pods_stand() -> None:
    admin = {
        "tier": "Admin",
        "priority": 1,
        "subject": {"namespaces": {}},
        "egress": [{"action": "Pass", "to": [{"namespaces": {}}]}],
    }
    body = {"kind": "ClusterNetworkPolicy", "metadata": {"name": "pass"}, "spec": admin}
    unknown = {"name": "l7", "namespace": "else"}
    objects: list[Resource] = [
        pod("a", "10.0.0.1"),
        pod("b", "10.0.0.2", labels={"app": "b"}),
        pod("c", "10.0.0.3", namespace="other"),
        pod("d", "10.0.0.4", namespace="else"),
        pod("on-node", "192.0.2.1", host_network=True),
        pod("over", "10.0.0.9", phase="Succeeded"),
        policy("deny", {"podSelector": {}, "policyTypes": ["Ingress"]}),
        policy("b", {"podSelector": {"matchLabels": {"app": "b"}}, "policyTypes": ["Egress"]}),
        convert("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", body),
        convert("cilium.io/v2", "CiliumNetworkPolicy", {"kind": "CiliumNetworkPolicy", "metadata": unknown}),
    ]
    found = exposed(metrics_of(objects)[1])
    assert found["flowatlas_policy_coverage_pods"] == {
        ("shop", "ingress", "isolated"): 2,
        ("shop", "egress", "isolated"): 1,
        ("shop", "egress", "selected"): 1,
        ("other", "ingress", "unprotected"): 1,
        ("other", "egress", "selected"): 1,
        ("else", "ingress", "not_judged"): 1,
        ("else", "egress", "selected"): 1,
    }
    assert found["flowatlas_policy_default_deny"] == {
        ("shop", "ingress"): 1,
        ("shop", "egress"): 0,
        ("other", "ingress"): 0,
        ("other", "egress"): 0,
        ("else", "ingress"): 0,
        ("else", "egress"): 0,
    }
    assert found["flowatlas_policy_not_judged_objects"] == {("CiliumNetworkPolicy",): 1}


def test_every_policy_metric_of_the_catalogue_is_there() -> None:
    wanted = {name for name in BY_NAME if name.startswith("flowatlas_policy_")}
    assert {samples.metric.name for samples in metrics_of([])[1].samples()} == wanted
