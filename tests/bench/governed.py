"""The generated cluster with rules in it: NetworkPolicies, an Ingress for each Service, and a mesh in a part of it.

The flows are those of `history`. Every policy allows what they do, as in a cluster that works: a policy of each
namespace lets all of the cluster and the outside in on port 8080, and one of each workload names its callers besides.
"""

from __future__ import annotations

from typing import Any, Final

import polars as pl
from msgspec import structs

from pipeline.inventory.models import Pod, Resource, convert
from pipeline.inventory.policy_history import PolicyEpoch
from pipeline.inventory.spans import BEGINNING
from tests.bench.history import SERVICES, cluster

NAMESPACES: Final = 40
PROXIES: Final = 40
"""Workloads that are the Ingress controller's."""
MESHED: Final = 10
"""Namespaces whose pods have sidecars, each Service there with two subsets and a route that shares them out."""

_PROXY: Final = {"app.kubernetes.io/name": "ingress-nginx", "app.kubernetes.io/component": "controller"}


def governed() -> tuple[list[Resource], list[PolicyEpoch]]:
    """The cluster's objects, and its policies."""
    objects = [_labelled(item, number) if isinstance(item, Pod) else item for number, item in enumerate(cluster())]
    objects += [_made("networking.k8s.io/v1", "IngressClass", "nginx", None, {"controller": "k8s.io/ingress-nginx"})]
    objects += [_ingress(number) for number in range(NAMESPACES)]
    meshed = [number for number in range(SERVICES) if number % NAMESPACES < MESHED]
    objects += [made for number in meshed for made in (_destination_rule(number), _virtual_service(number))]
    objects += [_made("security.istio.io/v1", "PeerAuthentication", "strict", "team-0", {"mtls": {"mode": "STRICT"}})]
    policies = [*(_namespace_policy(n) for n in range(NAMESPACES)), *(_workload_policy(n) for n in range(SERVICES))]
    return objects + policies, [PolicyEpoch(BEGINNING, tuple(policies))]


def touched(attributed: pl.DataFrame) -> dict[str, float]:
    """The shares of flows that have a route, a meshed end's Service subset, and are connections into a mesh."""
    return {
        "routes": attributed.select(
            (pl.col("route_id").is_not_null() | pl.col("route_set").is_not_null()).mean()
        ).item(),
        "subsets": attributed["subset_id"].is_not_null().mean(),
        "sidecars": (attributed["mesh"] == "sidecar").mean(),
    }


def _labelled(pod: Pod, number: int) -> Pod:
    app = int(pod.metadata.name.split("-")[0].removeprefix("app"))
    labels = {"app": f"app{app}", "version": f"v{number % 2 + 1}", **(pod.metadata.labels or {})}
    if app < PROXIES:
        labels |= _PROXY
    if app % NAMESPACES < MESHED:
        labels["security.istio.io/tlsMode"] = "istio"
    return structs.replace(pod, metadata=structs.replace(pod.metadata, labels=labels))


def _ingress(namespace: int) -> Resource:
    rules = [
        {
            "host": f"app{service}.example.com",
            "http": {
                "paths": [
                    {
                        "path": "/",
                        "pathType": "Prefix",
                        "backend": {"service": {"name": f"app{service}", "port": {"number": 80}}},
                    }
                ]
            },
        }
        for service in range(namespace, SERVICES, NAMESPACES)
    ]
    spec = {"ingressClassName": "nginx", "rules": rules}
    return _made("networking.k8s.io/v1", "Ingress", "web", f"team-{namespace}", spec)


def _destination_rule(service: int) -> Resource:
    subsets = [{"name": version, "labels": {"version": version}} for version in ("v1", "v2")]
    spec: dict[str, Any] = {"host": f"app{service}", "subsets": subsets}
    if service % 4 == 0:
        spec["trafficPolicy"] = {"connectionPool": {"tcp": {"maxConnections": 100}}}
    return _made("networking.istio.io/v1", "DestinationRule", f"app{service}", f"team-{service % NAMESPACES}", spec)


def _virtual_service(service: int) -> Resource:
    host = f"app{service}"
    routes = [
        {"destination": {"host": host, "subset": subset}, "weight": weight}
        for subset, weight in (("v1", 90), ("v2", 10))
    ]
    spec = {"hosts": [host], "http": [{"route": routes}]}
    return _made("networking.istio.io/v1", "VirtualService", host, f"team-{service % NAMESPACES}", spec)


def _namespace_policy(namespace: int) -> Resource:
    ports = [{"port": 8080, "protocol": protocol} for protocol in ("TCP", "UDP")]
    everybody = [{"namespaceSelector": {}}, {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["192.168.0.0/16"]}}]
    spec = {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": everybody, "ports": ports}],
        "egress": [{}],
    }
    return _made("networking.k8s.io/v1", "NetworkPolicy", "default", f"team-{namespace}", spec)


def _workload_policy(app: int) -> Resource:
    callers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": f"team-{n % NAMESPACES}"}}}
               for n in range(app, app + 5)]  # fmt: skip
    spec = {
        "podSelector": {"matchLabels": {"app": f"app{app}"}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": callers, "ports": [{"port": 8080}]}],
    }
    return _made("networking.k8s.io/v1", "NetworkPolicy", f"app{app}", f"team-{app % NAMESPACES}", spec)


def _made(version: str, kind: str, name: str, namespace: str | None, spec: dict[str, Any]) -> Resource:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return convert(version, kind, {"kind": kind, "metadata": metadata, "spec": spec})
