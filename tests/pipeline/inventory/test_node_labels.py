"""A node that is labelled anew: who it is to policies from then on, and with it the pods on its network."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import polars as pl

from pipeline.attribution.policies import PolicyTimeline
from pipeline.attribution.policies.profiles import Profiles
from pipeline.inventory.addresses import of
from pipeline.inventory.history import History
from pipeline.inventory.models import Resource, convert
from pipeline.inventory.snapshot import Snapshot
from pipeline.inventory.spans import END
from pipeline.policy.parties import party_of
from tests.pipeline.attribution.policies.timelines import flows_of
from tests.pipeline.inventory.objects import pod

SECOND = 1_000_000_000
IP = "192.0.2.1"
ADDRESS = of(ipaddress.ip_address(IP))
HOST = pod("host", IP, on="n1", host_network=True, host_ip=IP, ports=[(50, 0, "TCP")])
OTHER = pod("other", "10.0.0.1", on="n1")


def node(role: str) -> Resource:
    metadata = {"name": "n1", "labels": {"role": role}, "uid": "n1", "creationTimestamp": "1970-01-01T00:00:01Z"}
    status = {"addresses": [{"type": "InternalIP", "address": IP}]}
    return convert("v1", "Node", {"kind": "Node", "metadata": metadata, "status": status})


def told(*first: Resource) -> History:
    history = History()
    history.begin()
    for item in first:
        history.put(0, item)
    history.synced(0)
    return history


def roles(snapshot: Snapshot, *seen_before: Snapshot) -> Sequence[tuple[str, str | None]]:
    """By endpoint of the cluster: its name, and the role that policies take it to have."""
    profiles = Profiles()
    for each in (*seen_before, snapshot):
        profiles.see(each)
    known = [dict(profiles.distinct[number].labels).get("role") for number in profiles.of_endpoint]
    named = zip(snapshot.endpoints["kind"], snapshot.endpoints["name"], known, strict=True)
    return [(name, role) for kind, name, role in named if kind in {"Node", "Pod"}]


def test_it_is_another_endpoint_from_then_on_and_what_is_learnt_late_holds_no_earlier() -> None:
    history = told(node("old"))
    history.put(10 * SECOND, node("new"))
    history.put(20 * SECOND, HOST)  # which has been on the node for ever
    snapshot = history.snapshot()
    spans = snapshot.addresses.sort("since").select("endpoint_id", "since", "until").rows()
    assert [(since // SECOND, until) for _, since, until in spans][1:] == [(10, END)]
    assert spans[0][2] == 10 * SECOND
    labels = [snapshot.subjects[number] for number, _, _ in spans]
    assert [item.metadata.labels for item in labels if item] == [{"role": "old"}, {"role": "new"}]


def test_pods_on_its_network_are_other_endpoints_from_then_on_and_no_others_are() -> None:
    history = told(node("old"), HOST, OTHER)
    history.put(10 * SECOND, node("new"))
    snapshot = history.snapshot()
    ids = snapshot.endpoints.filter(name="host")["id"].to_list()
    assert snapshot.endpoints.filter(name="other").height == 1
    spans = snapshot.listeners.sort("since").select("endpoint_id", "until").rows()
    assert spans == [(ids[0], 10 * SECOND), (ids[1], END)]


def test_policies_know_both_as_they_were_whenever_they_are_told() -> None:
    history = told(node("old"), HOST)
    before = history.snapshot()
    history.put(10 * SECOND, node("new"))
    expected = [("n1", "old"), ("host", "old"), ("n1", "new"), ("host", "new")]
    assert roles(history.snapshot()) == expected
    assert roles(history.snapshot(), before) == expected


def test_explain_knows_both_as_they_were() -> None:
    history = told(node("old"), HOST)
    history.put(10 * SECOND, node("new"))
    snapshot = history.snapshot()
    parties = [party_of(snapshot, number, ADDRESS, {}) for number in snapshot.endpoints.filter(name="host")["id"]]
    assert [party.labels for party in parties] == [{"role": "old"}, {"role": "new"}]


def test_a_rule_for_nodes_means_the_pods_on_the_network_of_those_that_have_its_labels_at_the_time() -> None:
    spec = {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}}
    to_new = {"action": "Deny", "to": [{"nodes": {"matchLabels": {"role": "new"}}}]}
    body = {"kind": "ClusterNetworkPolicy", "metadata": {"name": "n"}, "spec": {**spec, "egress": [to_new]}}
    history = told(node("old"), HOST, OTHER, convert("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", body))
    policies = PolicyTimeline()
    policies.use(history.snapshot(), history.policy_epochs())
    history.put(10 * SECOND, node("new"))
    snapshot = history.snapshot()
    policies.use(snapshot, history.policy_epochs())
    flows = flows_of(snapshot, [20 * SECOND] * 200, 1).filter(pl.col("src_lo") == 0xFFFF0A000001)
    ids = snapshot.endpoints.filter(name="host")["id"]
    flows = pl.concat(flows.head(1).with_columns(dst_id=pl.lit(number, pl.UInt32)) for number in ids)
    assert policies.judge(flows)["verdict"].to_list() == ["allowed", "denied"]
