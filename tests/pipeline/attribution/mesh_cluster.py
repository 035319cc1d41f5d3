"""A small mesh: two versions of one Service with sidecars, clients with and without, an ambient pair."""

from __future__ import annotations

from typing import Any

from pipeline.inventory.models import Resource, convert
from tests.pipeline.attribution.cluster import Flow
from tests.pipeline.inventory.objects import node, pod, service
from tests.pipeline.inventory.routing_objects import made

CLIENT, PLAIN, V1, V2, AMBIENT_CLIENT, AMBIENT_SERVER = (f"10.8.0.{number}" for number in range(1, 7))
WEB_IP, NODE = "10.0.0.1", "192.0.2.1"
SIDECAR = {"security.istio.io/tlsMode": "istio"}
SUBSETS = [{"name": "v1", "labels": {"version": "v1"}}, {"name": "v2", "labels": {"version": "v2"}}]


def ambient(name: str, ip: str) -> Resource:
    return convert(
        "v1",
        "Pod",
        {
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": "shop",
                "labels": {"app": name},
                "annotations": {"ambient.istio.io/redirection": "enabled"},
            },
            "spec": {"nodeName": "n1"},
            "status": {"phase": "Running", "podIP": ip},
        },
    )


CLUSTER: tuple[Resource, ...] = (
    node("n1", NODE),
    pod("client", CLIENT, labels=SIDECAR, on="n1"),
    pod("plain", PLAIN, on="n1"),
    pod("web-1", V1, labels={**SIDECAR, "app": "web", "version": "v1"}, on="n1"),
    pod("web-2", V2, labels={**SIDECAR, "app": "web", "version": "v2"}, on="n1"),
    ambient("ambient-client", AMBIENT_CLIENT),
    ambient("ambient-server", AMBIENT_SERVER),
    service("web", WEB_IP, ports=[{"port": 80, "targetPort": 8080}], selector={"app": "web"}),
)


def flow(src: str, dst: str, port: int = 8080, backend: str = "", backend_port: int = 0, start: int = 0) -> Flow:
    """A connection; `backend` is who answered where that is another than was dialled."""
    return Flow("n1", src, dst, backend or dst, src, port, 6, backend_port or port, start)


def destination_rule(host: str = "web", name: str = "web", bound: int = 0, **spec: Any) -> Resource:
    policy = {"trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": bound}}}} if bound else {}
    rule = {"host": host, "subsets": SUBSETS, **policy, **spec}
    return made("networking.istio.io/v1", "DestinationRule", name, "shop", rule)


def virtual_service(*weights: tuple[str, int], name: str = "web", **spec: Any) -> Resource:
    targets = [{"destination": {"host": "web", "subset": subset}, "weight": weight} for subset, weight in weights]
    rule = {"hosts": ["web"], "http": [{"route": targets}], **spec}
    return made("networking.istio.io/v1", "VirtualService", name, "shop", rule)


def authentication(
    name: str, mode: str, namespace: str = "shop", labels: dict[str, str] | None = None, **ports: str
) -> Resource:
    spec: dict[str, Any] = {"mtls": {"mode": mode}}
    if labels:
        spec["selector"] = {"matchLabels": labels}
    if ports:
        spec["portLevelMtls"] = {port.removeprefix("p"): {"mode": told} for port, told in ports.items()}
    return made("security.istio.io/v1", "PeerAuthentication", name, namespace, spec)
