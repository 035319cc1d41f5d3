"""Connections of who is on a node that has no collector."""

from __future__ import annotations

import pytest

from pipeline.inventory.models import convert
from pipeline.inventory.snapshot import build
from tests.pipeline.attribution.cluster import Flow
from tests.pipeline.attribution.frames import answers
from tests.pipeline.inventory.objects import node, pod, service


@pytest.mark.parametrize(
    "labels",
    [
        {"kubernetes.io/os": "windows"},
        {"type": "virtual-kubelet"},
        {"eks.amazonaws.com/compute-type": "fargate"},
        {"flowatlas/collector": "none"},
    ],
)
def test_who_is_on_a_node_without_a_collector_counts_where_it_is_first_seen(labels: dict[str, str]) -> None:
    """Its own node, which would count it, tells nothing; the row of a node behind that stays an observer's."""
    dark = convert(
        "v1",
        "Node",
        {
            "kind": "Node",
            "metadata": {"name": "dark", "labels": labels},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.9"}]},
        },
    )
    nodes = [node(f"n{number}", f"192.0.2.{number}") for number in (1, 2)]
    pods = [pod("client", "10.244.9.5", on="dark"), pod("web", "10.244.2.5", on="n2")]
    ports = [{"name": "http", "port": 80, "nodePort": 30080}]
    snapshot = build([*nodes, dark, *pods, service("web", "10.96.0.80", kind="NodePort", ports=ports)])
    direct = Flow("n2", "10.244.9.5", "10.244.2.5", "10.244.2.5", "10.244.9.5", 8080, 6)
    by_node_port = Flow("n1", "10.244.9.5", "192.0.2.1", "10.244.2.5", "192.0.2.1", 30080, 6)
    behind = Flow("n2", "192.0.2.1", "10.244.2.5", "10.244.2.5", "192.0.2.1", 8080, 6)
    to_it = Flow("n2", "10.244.2.5", "10.244.9.5", "10.244.9.5", "10.244.2.5", 8080, 6)
    from_outside = Flow("n1", "198.51.100.7", "10.244.9.5", "10.244.9.5", "198.51.100.7", 8080, 6)
    told = answers([direct, by_node_port, behind, to_it, from_outside], snapshot)
    assert [answer.role for answer in told] == ["canonical", "canonical", "observer", "canonical", "canonical"]
    assert told[0].source == ("Pod", "client")
