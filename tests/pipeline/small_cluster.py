"""A cluster small enough to check by hand: two nodes, a Deployment of two pods, a StatefulSet pod, two Services."""

from __future__ import annotations

from typing import Any

from pipeline.inventory.models import Resource, convert
from pipeline.inventory.snapshot import Snapshot, build

NODES = {"node-a": "192.0.2.10", "node-b": "192.0.2.11"}


def node(name: str, address: str, pods: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"podCIDR": pods},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }


def pod(name: str, on: str, ip: str, owner: tuple[str, str] | None = None, namespace: str = "shop") -> dict[str, Any]:
    owners = [{"kind": owner[0], "name": owner[1], "controller": True}] if owner else None
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}", "ownerReferences": owners},
        "spec": {"nodeName": on},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "hostIP": NODES[on]},
    }


def service(name: str, ip: str, port: int, protocol: str = "TCP", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": port, "protocol": protocol}], **spec},
    }


OBJECTS: tuple[dict[str, Any], ...] = (
    node("node-a", NODES["node-a"], "10.0.1.0/24"),
    node("node-b", NODES["node-b"], "10.0.2.0/24"),
    {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": "front-1",
            "namespace": "shop",
            "ownerReferences": [{"kind": "Deployment", "name": "front", "controller": True}],
        },
    },
    pod("front-1-x", "node-a", "10.0.1.5", ("ReplicaSet", "front-1")),
    pod("front-1-y", "node-b", "10.0.2.5", ("ReplicaSet", "front-1")),
    pod("database-0", "node-b", "10.0.2.7", ("StatefulSet", "database")),
    service("database", "10.96.0.7", 5432),
    service("front", "10.96.0.5", 80, type="NodePort"),
)


def resources(*more: dict[str, Any]) -> list[Resource]:
    return [convert(body["apiVersion"], body["kind"], body) for body in (*OBJECTS, *more)]


def small_cluster(*more: dict[str, Any]) -> Snapshot:
    """The snapshot of OBJECTS and more; more pods may shift the ids of all others."""
    return build(resources(*more))
