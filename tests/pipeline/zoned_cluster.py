"""A cluster over two regions and three zones, with a pod on every node, a Service, and ranges beyond it."""

from __future__ import annotations

import ipaddress
from typing import Any

from pipeline.inventory.models import convert
from pipeline.inventory.outside import BUILTIN, NamedRange, Place
from pipeline.inventory.snapshot import Snapshot, build
from tests.pipeline.small_cluster import node, service

PLACES = {
    "a1": ("a", "eu"),
    "a2": ("a", "eu"),
    "b1": ("b", "eu"),
    "c1": ("c", "us"),
    "bare": ("", ""),
    "eu-only": ("", "eu"),
}
STORAGE = NamedRange(ipaddress.ip_network("198.51.100.0/24"), Place("storage", "Cloud", region="eu", is_own=True))
PARTNER = NamedRange(ipaddress.ip_network("203.0.113.0/24"), Place("partner"))


def zoned_cluster(*first: dict[str, Any]) -> Snapshot:
    """Pods `on-<node>` in the namespaces `shop` (zone a) and `stock` (elsewhere); `first` come before all others."""
    objects: list[dict[str, Any]] = [*first, service("web", "10.96.0.5", 80)]
    for number, (name, (zone, region)) in enumerate(PLACES.items(), start=1):
        labels = {"topology.kubernetes.io/zone": zone, "topology.kubernetes.io/region": region}
        body = node(name, f"192.0.2.{number}", f"10.0.{number}.0/24")
        body["metadata"]["labels"] = {key: value for key, value in labels.items() if value}
        ip = f"10.0.{number}.9"
        objects += [
            body,
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"on-{name}", "namespace": "shop" if zone == "a" else "stock"},
                "spec": {"nodeName": name},
                "status": {"phase": "Running", "podIP": ip, "hostIP": f"192.0.2.{number}"},
            },
        ]
    resources = [convert(body["apiVersion"], body["kind"], body) for body in objects]
    return build(resources, outside=[*BUILTIN, STORAGE, PARTNER])
