"""Small histories for the tests of the policy tools: a cluster of two namespaces and rows that were recorded of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from pipeline.attribution.policies import Policies, compile_policies
from pipeline.inventory import snapshot
from pipeline.inventory.models import Resource, convert
from pipeline.inventory.snapshot import Snapshot
from pipeline.outputs.history import HISTORY

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
IPS = {"web-1": "10.0.0.1", "web-2": "10.0.0.2", "db-0": "10.0.0.3", "job-9": "10.0.0.4", "dns-1": "10.0.0.53"}
PLACES = {
    "web-1": ("shop", "Deployment", "web"),
    "web-2": ("shop", "Deployment", "web"),
    "web-0": ("shop", "Deployment", "web"),  # recorded, and gone since
    "db-0": ("shop", "StatefulSet", "db"),
    "job-9": ("batch", "Pod", "job-9"),
    "gone-1": ("batch", "Deployment", "gone"),  # gone, and its workload too
    "dns-1": ("kube-system", "Deployment", "dns"),
}
PORTS = {
    "db-0": [{"name": "sql", "containerPort": 5432}],
    "dns-1": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}],
}
LABELS = {
    "web-1": {"app": "web", "pod-template-hash": "5d4f8c7b9d", "zone": "a"},
    "web-2": {"app": "web", "pod-template-hash": "5d4f8c7b9d", "zone": "b"},
    "db-0": {"app": "db", "statefulset.kubernetes.io/pod-name": "db-0", "apps.kubernetes.io/pod-index": "0"},
    "job-9": {"app": "job"},
    "dns-1": {"k8s-app": "kube-dns", "topology.kubernetes.io/zone": "a"},
}
NODE_IP = "192.0.2.1"


def pod(name: str) -> dict[str, Any]:
    """A pod of the cluster; its workload is told by its owner."""
    namespace, kind, workload = PLACES[name]
    owner = {"kind": kind, "name": workload, "controller": True}
    if kind == "Deployment":
        owner = {"kind": "ReplicaSet", "name": f"{workload}-5d4f8c7b9d", "controller": True}
    labels = {**LABELS[name], **({"pod-template-hash": "5d4f8c7b9d"} if kind == "Deployment" else {})}
    return {
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels,
            "uid": f"uid-{name}",
            "ownerReferences": [] if kind == "Pod" else [owner],
        },
        "spec": {"nodeName": "n1", "containers": [{"ports": PORTS.get(name, [])}]},
        "status": {"phase": "Running", "podIP": IPS[name]},
    }


def policy(name: str, namespace: str = "shop", **spec: Any) -> Resource:
    """A NetworkPolicy."""
    metadata = {"name": name, "namespace": namespace}
    body = {"kind": "NetworkPolicy", "metadata": metadata, "spec": {"podSelector": {}, **spec}}
    return convert("networking.k8s.io/v1", "NetworkPolicy", body)


def cluster(*policies: Resource) -> tuple[list[Resource], Snapshot, Policies]:
    """The objects, their snapshot and the compiled policies."""
    node = {
        "kind": "Node",
        "metadata": {"name": "n1"},
        "status": {"addresses": [{"type": "InternalIP", "address": NODE_IP}]},
    }
    objects = [convert("v1", "Pod", pod(name)) for name in LABELS]
    objects += [convert("v1", "Node", node), *policies]
    known = snapshot.build(objects)
    return objects, known, compile_policies(objects, known)


def seen(source: str, destination: str, port: int, **columns: Any) -> dict[str, Any]:
    """One canonical row: ends are names of pods, of the node `n1`, or addresses beyond the cluster."""
    row: dict[str, Any] = {"role": "canonical", "protocol": 6, "opened": 1, "bytes": 100, "reply_bytes": 50}
    row |= {"time": START, "outcome": "closed", "backend_port": port, "dst_port": port}
    for side, end, ip in (("source", source, "src_ip"), ("destination", destination, "backend_ip")):
        row |= {f"{side}_{key}": value for key, value in _end(end).items()}
        row[ip] = IPS.get(end, NODE_IP if end == "n1" else "10.0.0.99" if end in PLACES else end)
    return {**row, "nat_src_ip": row["src_ip"], **columns}


def _end(name: str) -> dict[str, str]:
    if name in PLACES:
        namespace, kind, workload = PLACES[name]
        return {"kind": "Pod", "namespace": namespace, "name": name, "workload_kind": kind, "workload": workload}
    if name == "n1":
        return {"kind": "Node", "namespace": "", "name": name, "workload_kind": "Node", "workload": name}
    return {
        "kind": "External",
        "namespace": "",
        "name": "outside",
        "workload_kind": "External",
        "workload": "outside",
    }


def later(days: float) -> datetime:
    """So long after the first row."""
    return START + timedelta(days=days)


def history(*rows: dict[str, Any]) -> pl.LazyFrame:
    """Rows of the history; text that is not given is empty."""
    columns = {
        name: pl.Series(name, [row.get(name, "" if kind == pl.String else None) for row in rows], dtype=kind)
        for name, kind in HISTORY.items()
    }
    return pl.DataFrame(columns, schema=HISTORY).lazy()
