"""What `flowatlas top` compares and sorts by; apart from `pipeline.talkers`, so that a command line imports little."""

from __future__ import annotations

from typing import Final

KEYS: Final = {
    "pair": "workload to workload",
    "from": "workloads that connect",
    "to": "workloads that answer",
    "service": "Services dialled",
    "route": "Ingress and Gateway routes",
    "pods": "pod to pod",
    "namespaces": "namespace to namespace",
    "name": "DNS names beyond the cluster",
    "node": "nodes",
    "port": "ports that answer",
}
SORTS: Final = ("bytes", "sent", "received", "packets", "connections", "failed")
