"""Which Nodes have a collector, by what they say of themselves: its pods run Linux, on a kernel that is the Node's own.

The invariant: the Node alone tells, so that a row's role is the same whoever else is up or down.
"""

from __future__ import annotations

from typing import Final

from .models import Node

NO_COLLECTOR: Final = ("flowatlas/collector", "none")
"""The label by which whoever runs the cluster says that a Node has none; the chart keeps collectors off such Nodes."""


def has_collector(node: Node | None) -> bool:
    """Whether a Node has a collector; one that is known by name alone is taken to have one."""
    labels = (node and node.metadata.labels) or {}
    key, value = NO_COLLECTOR
    if labels.get(key) == value or labels.get("type") == "virtual-kubelet" or (node and is_for_one_pod(node)):
        return False
    return labels.get("kubernetes.io/os", "linux") == "linux"


def is_for_one_pod(node: Node) -> bool:
    """Whether it is one of EKS on Fargate, where each pod has a Node to itself and both have the address of its one
    interface."""
    return (node.metadata.labels or {}).get("eks.amazonaws.com/compute-type") == "fargate"
