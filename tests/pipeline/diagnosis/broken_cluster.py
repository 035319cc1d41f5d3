"""A cluster in which a test breaks one thing: nodes, pods, Services and slices by a line each, and flows of it."""

from __future__ import annotations

from typing import Any

import polars as pl

from pipeline.diagnosis.evidence import Cluster, Evidence, Source
from pipeline.diagnosis.finding import Finding
from pipeline.diagnosis.scrape import Scrape, parse
from pipeline.inventory.models import Resource, convert
from tests.pipeline.policy.histories import START, history

VIP = "10.96.0.1"


def node(name: str) -> Resource:
    addresses = [{"type": "InternalIP", "address": f"192.0.2.{ord(name[-1])}"}]
    return convert("v1", "Node", {"metadata": {"name": name}, "status": {"addresses": addresses}})


def pod(name: str, ip: str, *, on: str = "n1", ports: list[dict[str, Any]] | None = None, **labels: str) -> Resource:
    body = {
        "metadata": {"name": name, "namespace": "shop", "uid": f"uid-{name}", "labels": labels},
        "spec": {"nodeName": on, "containers": [{"ports": ports or []}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]},
    }
    return convert("v1", "Pod", body)


def service(name: str = "web", port: dict[str, Any] | None = None, **spec: Any) -> Resource:
    whole = {"clusterIP": VIP, "clusterIPs": [VIP], "ports": [port or {"port": 80}], "selector": {"app": "web"}, **spec}
    return convert("v1", "Service", {"metadata": {"name": name, "namespace": "shop"}, "spec": whole})


def slice_of(name: str, *addresses: str, ready: bool = True, port: int = 8080) -> Resource:
    body = {
        "metadata": {"name": f"{name}-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": ready}} for address in addresses],
        "ports": [{"port": port}],
    }
    return convert("discovery.k8s.io/v1", "EndpointSlice", body)


def dialled(flow_id: int, *, reached: bool, on: str = "n1", source: str = "client", **columns: Any) -> dict[str, Any]:
    """One connection of a pod to Service web's address."""
    row: dict[str, Any] = {
        "time": START,
        "node": on,
        "flow_id": flow_id,
        "role": "canonical",
        "protocol": 6,
        "via": "cluster_ip",
        "opened": 1,
        "outcome": "closed" if reached else "no_reply",
        "src_ip": "10.0.0.9",
        "dst_ip": VIP,
        "dst_port": 80,
        "backend_ip": "10.0.0.1" if reached else VIP,
        "backend_port": 8080 if reached else 80,
        "packets": 5,
        "reply_packets": 5 if reached else 0,
        "retransmits": 0,
        "service_namespace": "shop",
        "service": "web",
        "service_port": "80",
    }
    ends = {"source": (source, on), "destination": ("web", "n1")}
    for side, (name, place) in ends.items():
        row |= {f"{side}_kind": "Pod", f"{side}_namespace": "shop", f"{side}_workload": name}
        row |= {f"{side}_name": f"{name}-1", f"{side}_node": place}
    return {**row, **columns}


def evidence(*objects: Resource, rows: list[dict[str, Any]] | None = None, metrics: str = "", **asked: Any) -> Evidence:
    """What is known; every source counts as known."""
    known: frozenset[Source] = frozenset(("state", "history", "metrics"))
    flows: pl.LazyFrame = history(*(rows or []))
    return Evidence(known, Cluster(objects), flows, scrape(metrics), **asked)


def scrape(text: str) -> Scrape:
    """All samples of an exposition text."""
    return parse(text, [line.partition("{")[0].partition(" ")[0] for line in text.splitlines()])


def told(findings: list[Finding]) -> list[tuple[str, str]]:
    """Severities and subjects."""
    return [(finding.severity, finding.subject) for finding in findings]
