"""Kubernetes objects for tests, in as few words as a test needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.inventory.models import Node, Pod, Resource, Service, convert


def node(
    name: str,
    *ips: str,
    pod_cidrs: Sequence[str] = (),
    zone: str = "",
    compute_type: str = "",
    os: str = "",
    **annotations: str,
) -> Node:
    labels = {"topology.kubernetes.io/zone": zone, "eks.amazonaws.com/compute-type": compute_type}
    labels["kubernetes.io/os"] = os
    labels = {key: value for key, value in labels.items() if value}
    made = convert(
        "v1",
        "Node",
        {
            "kind": "Node",
            "metadata": {"name": name, "labels": labels, "annotations": annotations},
            "spec": {"podCIDRs": list(pod_cidrs)},
            "status": {"addresses": [{"type": "InternalIP", "address": ip} for ip in ips]},
        },
    )
    assert isinstance(made, Node)
    return made


def cilium_node(name: str, *addresses: tuple[str, str], pod_cidrs: Sequence[str] = (), health: str = "") -> Resource:
    """What Cilium notes of a node; `addresses` are types and addresses."""
    spec: dict[str, Any] = {
        "addresses": [{"type": kind, "ip": ip} for kind, ip in addresses],
        "ipam": {"podCIDRs": list(pod_cidrs)},
        "health": {"ipv4": health},
    }
    return convert("cilium.io/v2", "CiliumNode", {"kind": "CiliumNode", "metadata": {"name": name}, "spec": spec})


def pod(
    name: str,
    *ips: str,
    on: str = "",
    namespace: str = "shop",
    owner: tuple[str, str] | None = None,
    labels: dict[str, str] | None = None,
    phase: str = "Running",
    host_network: bool = False,
    leaving: bool = False,
    host_ip: str = "",
    uid: str = "",
    ports: Sequence[tuple[int, int, str]] = (),
) -> Pod:
    """A pod; `ports` are containerPort, hostPort (0 for none) and protocol."""
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "labels": labels or {}, "uid": uid}
    if owner:
        metadata["ownerReferences"] = [{"kind": owner[0], "name": owner[1], "controller": True}]
    if leaving:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    status: dict[str, Any] = {"phase": phase, "podIPs": [{"ip": ip} for ip in ips]}
    if ips:
        status["podIP"] = ips[0]
    if host_ip:
        status["hostIP"] = host_ip
    spec: dict[str, Any] = {"hostNetwork": host_network}
    if ports:
        declared = [
            {"containerPort": port, "protocol": protocol} | ({"hostPort": host_port} if host_port else {})
            for port, host_port, protocol in ports
        ]
        spec["containers"] = [{"ports": declared}]
    if on:
        spec["nodeName"] = on
    made = convert("v1", "Pod", {"kind": "Pod", "metadata": metadata, "spec": spec, "status": status})
    assert isinstance(made, Pod)
    return made


def service(
    name: str,
    *cluster_ips: str,
    ports: Sequence[dict[str, Any]] = ({"port": 80},),
    namespace: str = "shop",
    kind: str = "ClusterIP",
    load_balancer_ips: Sequence[str] = (),
    external_ips: Sequence[str] = (),
    selector: dict[str, str] | None = None,
) -> Service:
    made = convert(
        "v1",
        "Service",
        {
            "kind": "Service",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "type": kind,
                **({"clusterIP": cluster_ips[0]} if cluster_ips else {}),
                "clusterIPs": list(cluster_ips),
                "externalIPs": list(external_ips),
                "ports": list(ports),
                "selector": selector or {},
            },
            "status": {"loadBalancer": {"ingress": [{"ip": ip} for ip in load_balancer_ips]}},
        },
    )
    assert isinstance(made, Service)
    return made


def owned(api_version: str, kind: str, name: str, owner: tuple[str, str] | None, namespace: str = "shop") -> Resource:
    """A ReplicaSet, Job or other object with a controller."""
    owners = [{"kind": owner[0], "name": owner[1], "controller": True}] if owner else []
    return convert(
        api_version,
        kind,
        {"kind": kind, "metadata": {"name": name, "namespace": namespace, "ownerReferences": owners}},
    )
