"""Policies of a cluster that changes, from its history to verdicts."""

from __future__ import annotations

from typing import Any

import polars as pl

from pipeline.attribution import attribute
from pipeline.attribution.policies.live import ADDED, LivePolicies
from pipeline.inventory.history import History
from pipeline.inventory.models import Resource, convert
from tests.pipeline.attribution.cluster import Flow
from tests.pipeline.attribution.frames import frame_of
from tests.pipeline.inventory.objects import pod

SECOND = 1_000_000_000
T0 = 1_800_000_000 * SECOND
A, B = "10.0.0.1", "10.0.0.2"


def policy(labels: dict[str, str]) -> Resource:
    spec: dict[str, Any] = {"podSelector": {"matchLabels": labels}, "policyTypes": ["Ingress"]}
    body = {"kind": "NetworkPolicy", "metadata": {"name": "deny", "namespace": "shop"}, "spec": spec}
    return convert("networking.k8s.io/v1", "NetworkPolicy", body)


def verdicts(policies: LivePolicies, history: History, *starts: int) -> list[str]:
    flows = [Flow("", A, B, B, A, 8080, 6, start=T0 + start * SECOND) for start in starts]
    snapshot = history.snapshot()
    frame = attribute(frame_of(flows), snapshot).with_columns(
        time=pl.col("start") + SECOND,
        flow_id=pl.int_range(pl.len(), dtype=pl.UInt64),
        outcome=pl.lit(0, pl.UInt8),
        reply_packets=pl.lit(0, pl.UInt64),
    )
    judged = policies.judge(frame, snapshot, history.policy_epochs())
    assert all(judged.schema[name] == dtype for name, dtype in ADDED.items())
    return judged["verdict"].cast(pl.String).to_list()


def test_a_policy_that_comes_and_goes_and_a_label_that_changes() -> None:
    history, policies = History(), LivePolicies()
    history.begin()
    for resource in (pod("a", A, uid="a"), pod("b", B, uid="b", labels={"app": "b"})):
        history.put(T0, resource)
    history.synced(T0)
    assert verdicts(policies, history, 1) == ["allowed"]

    history.put(T0 + 100 * SECOND, policy({"app": "b"}))
    history.mark(T0 + 101 * SECOND)
    assert verdicts(policies, history, 1, 99, 100, 101) == ["allowed", "allowed", "denied", "denied"]

    history.put(T0 + 200 * SECOND, pod("b", B, uid="b", labels={"app": "other"}))
    history.mark(T0 + 201 * SECOND)
    assert verdicts(policies, history, 99, 150, 199, 201) == ["allowed", "denied", "denied", "allowed"]

    history.put(T0 + 300 * SECOND, policy({"app": "other"}))
    history.delete(T0 + 400 * SECOND, "networking.k8s.io/v1", "NetworkPolicy", "shop", "deny")
    history.mark(T0 + 401 * SECOND)
    assert verdicts(policies, history, 150, 250, 350, 401) == ["denied", "allowed", "denied", "allowed"]


def test_a_pod_of_the_same_name_with_other_labels_is_another() -> None:
    history, policies = History(), LivePolicies()
    history.begin()
    for resource in (pod("a", A, uid="a"), pod("b", B, uid="b1", labels={"app": "b"}), policy({"app": "b"})):
        history.put(T0, resource)
    history.synced(T0)
    assert verdicts(policies, history, 1) == ["denied"]
    history.delete(T0 + 10 * SECOND, "v1", "Pod", "shop", "b")
    history.put(T0 + 20 * SECOND, pod("b", B, uid="b2", labels={"app": "new"}))
    history.mark(T0 + 21 * SECOND)
    assert verdicts(policies, history, 1, 9, 21) == ["denied", "denied", "allowed"]
