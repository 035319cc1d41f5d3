"""The log says each mismatch by pair, seldom, and counts what it leaves out."""

from __future__ import annotations

import logging

import polars as pl
import pytest

from pipeline.attribution.policies import PolicyTimeline
from pipeline.attribution.policies.mismatches import MISMATCH
from pipeline.inventory import snapshot
from pipeline.inventory.history import PolicyEpoch
from pipeline.inventory.models import Resource, convert
from pipeline.inventory.spans import BEGINNING
from pipeline.outputs.policy_log import MAX_LINES, PERIOD_SECONDS, PolicyLog
from pipeline.outputs.verdicts import policies_of
from tests.pipeline.attribution.policies.timelines import flows_of
from tests.pipeline.inventory.objects import pod


def deny(namespace: str) -> Resource:
    spec = {"podSelector": {}, "policyTypes": ["Ingress"]}
    body = {"kind": "NetworkPolicy", "metadata": {"name": "deny", "namespace": namespace}, "spec": spec}
    return convert("networking.k8s.io/v1", "NetworkPolicy", body)


def marked(pods: int) -> tuple[pl.DataFrame, snapshot.Snapshot, PolicyTimeline]:
    objects: list[Resource] = [pod(f"p{n}", f"10.0.0.{n}") for n in range(1, pods + 1)]
    cluster = snapshot.build([*objects, deny("shop")])
    policies = PolicyTimeline()
    policies.use(cluster, [PolicyEpoch(BEGINNING, (deny("shop"),))])
    flows = policies.judge(flows_of(cluster, [0] * 300, 1)).filter(
        (pl.col("verdict") == "denied") & (pl.col("src_id") != pl.col("dst_id"))
    )
    return flows.with_columns(mismatch=pl.lit("established_denied", dtype=MISMATCH)), cluster, policies


def test_a_mismatch_is_a_line_that_names_the_ends_and_the_policies(caplog: pytest.LogCaptureFixture) -> None:
    flows, cluster, policies = marked(2)
    one = flows.filter(pl.col("src_id") != 0).head(1)
    log = PolicyLog()
    with caplog.at_level(logging.WARNING):
        log.take(pl.concat([one, one, one]), cluster, policies)
        log.tell(100.0)
    names = cluster.endpoints["name"]
    source, destination = (names[one[end].item()] for end in ("src_id", "dst_id"))
    assert caplog.messages == [
        f"policies: 3 connections established although denied: shop/{source} to shop/{destination} "
        f"port {one['backend_port'].item()}, by isolates NetworkPolicy/shop/deny/"
    ]


def test_lines_are_few_and_what_they_leave_out_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    flows, cluster, policies = marked(9)
    log = PolicyLog()
    with caplog.at_level(logging.WARNING):
        log.take(flows, cluster, policies)
        log.tell(100.0)
        log.take(flows, cluster, policies)
        log.tell(100.0 + PERIOD_SECONDS / 2)
    assert len(caplog.messages) == MAX_LINES
    told = sum(int(text.split()[1]) for text in caplog.messages[:-1]) + int(caplog.messages[-1].split()[2])
    assert told == flows.height
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        log.tell(100.0 + PERIOD_SECONDS)
    told = sum(int(text.split()[1]) for text in caplog.messages[:-1]) + int(caplog.messages[-1].split()[2])
    assert told == flows.height


def test_what_is_left_is_told_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    flows, cluster, policies = marked(2)
    log = PolicyLog()
    log.take(flows, cluster, policies)
    log.tell(100.0)
    log.take(flows, cluster, policies)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        log.tell(101.0)
        assert caplog.messages == []
        log.tell(102.0, is_last=True)
    assert caplog.messages


def test_kinds_that_are_not_judged_are_named_once(caplog: pytest.LogCaptureFixture) -> None:
    flows, cluster, policies = marked(2)
    strange = [("CiliumNetworkPolicy", "a"), ("CiliumNetworkPolicy", "b"), ("GlobalNetworkPolicy", "c")]
    objects = [convert("other.io/v1", kind, {"kind": kind, "metadata": {"name": name}}) for kind, name in strange]
    log = PolicyLog()
    with caplog.at_level(logging.WARNING):
        log.take(flows.clear(), cluster, policies)
        policies.use(cluster, [PolicyEpoch(BEGINNING, tuple(objects))])
        log.take(flows.clear(), cluster, policies)
        policies.use(cluster, [PolicyEpoch(BEGINNING, (*objects, deny("shop")))])
        log.take(flows.clear(), cluster, policies)
    assert caplog.messages == [
        "policies: not judged, and never called unprotected: 2 CiliumNetworkPolicy, 1 GlobalNetworkPolicy"
    ]


def test_texts_of_responsible_policies_are_read_back() -> None:
    texts = [
        "allow NetworkPolicy/shop/web/2",
        "deny AdminNetworkPolicy//guard/a/b c",
        "not judged CiliumNetworkPolicy/x/y/",
    ]
    read = pl.DataFrame({"text": texts}).select(policies_of(pl.col("text")).alias("policy"))["policy"].to_list()
    assert [tuple(policy.values()) for policy in read] == [
        ("allow", "NetworkPolicy", "shop", "web", "2"),
        ("deny", "AdminNetworkPolicy", "", "guard", "a/b c"),
        ("not judged", "CiliumNetworkPolicy", "x", "y", ""),
    ]
