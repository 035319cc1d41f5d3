"""Drops and errors at the interfaces of pods and nodes."""

from __future__ import annotations

from pipeline.diagnosis.interfaces import node_interfaces, pod_interfaces
from tests.pipeline.diagnosis.broken_cluster import evidence, node, pod

POD = ("container_network", 'namespace="shop",pod="web-1",interface="eth0",node="n1"')
NODE = ("flowatlas_node_network", 'node="n1",interface="eth0",scope="node"')


def counters(of: tuple[str, str], **counts: int) -> str:
    prefix, labels = of
    return "".join(f"{prefix}_{name}_total{{{labels}}} {count}\n" for name, count in counts.items())


def test_a_pods_drops_are_told_with_their_share_and_each_way() -> None:
    metrics = counters(POD, transmit_packets=700, transmit_packets_dropped=300, receive_packets=1000)
    (finding,) = pod_interfaces(evidence(metrics=metrics))
    assert (finding.severity, finding.subject) == ("warning", "pod shop/web-1 interface eth0")
    assert finding.problem == "15.0% of its packets were dropped"
    assert finding.evidence == (
        "receive: 1000 packets, 0 dropped, 0 errors",
        "transmit: 700 packets, 300 dropped, 0 errors",
        "it is on node n1",
    )


def test_a_nodes_errors_and_drops_are_a_finding_each() -> None:
    metrics = counters(NODE, receive_packets=900, receive_packets_dropped=101, transmit_errors=11)
    found = list(node_interfaces(evidence(metrics=metrics)))
    assert [(finding.check, finding.problem) for finding in found] == [
        ("interface-drops", "10.1% of its packets were dropped"),
        ("interface-errors", "it counted 11 errors"),
    ]
    assert {finding.subject for finding in found} == {"node n1 interface eth0"}


def test_an_interface_that_dropped_everything_is_told() -> None:
    (finding,) = node_interfaces(evidence(metrics=counters(NODE, transmit_packets_dropped=200)))
    assert finding.problem == "100.0% of its packets were dropped"


def test_few_drops_a_small_share_and_few_errors_say_nothing() -> None:
    for quiet in (
        counters(NODE, receive_packets=10, receive_packets_dropped=100),
        counters(NODE, receive_packets=1_000_000, receive_packets_dropped=1000),
        counters(NODE, receive_packets=10, receive_errors=10),
    ):
        assert not list(node_interfaces(evidence(metrics=quiet)))


def test_a_pods_counters_are_no_nodes() -> None:
    metrics = counters(POD, receive_errors=50)
    assert not list(node_interfaces(evidence(metrics=metrics)))
    assert list(pod_interfaces(evidence(metrics=metrics)))


def test_of_a_pod_asked_about_only_its_own_and_its_nodes_interfaces_are_told() -> None:
    objects = (node("n1"), node("n2"), pod("web-1", "10.0.0.1"), pod("web-2", "10.0.0.2", on="n2"))
    metrics = counters(POD, receive_errors=50) + counters(NODE, receive_errors=50)
    for name, expected in (("web-1", 2), ("web-2", 0)):
        known = evidence(*objects, metrics=metrics, pod=("shop", name))
        assert len([*pod_interfaces(known), *node_interfaces(known)]) == expected
