"""Ingresses, Gateways and what serves them, for tests, in as few words as a test needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.inventory.models import Resource, convert

NGINX = {"app.kubernetes.io/name": "ingress-nginx", "app.kubernetes.io/component": "controller"}


def ingress(
    name: str,
    *rules: tuple[str, str, str, int | str],
    namespace: str = "shop",
    class_name: str | None = "nginx",
    tls: Sequence[str] | None = None,
    default: tuple[str, int] | None = None,
    status: Sequence[Mapping[str, str]] = (),
    path_type: str = "Prefix",
    annotations: Mapping[str, str] | None = None,
) -> Resource:
    """An Ingress; a rule is host, path, Service and its port's number or name."""
    spec: dict[str, Any] = {
        "rules": [
            {
                **({"host": host} if host else {}),
                "http": {"paths": [{"path": path, "pathType": path_type, "backend": _backend(service, port)}]},
            }
            for host, path, service, port in rules
        ]
    }
    if class_name is not None:
        spec["ingressClassName"] = class_name
    if tls is not None:
        spec["tls"] = [{"hosts": list(tls)}] if tls else [{"secretName": "any"}]
    if default:
        spec["defaultBackend"] = _backend(*default)
    return made(
        "networking.k8s.io/v1",
        "Ingress",
        name,
        namespace,
        spec,
        {"loadBalancer": {"ingress": list(status)}},
        annotations=annotations,
    )


def _backend(service: str, port: int | str) -> dict[str, Any]:
    return {"service": {"name": service, "port": {"number" if isinstance(port, int) else "name": port}}}


def ingress_class(name: str = "nginx", controller: str = "k8s.io/ingress-nginx", *, default: bool = False) -> Resource:
    marks = {"ingressclass.kubernetes.io/is-default-class": "true"} if default else {}
    return made("networking.k8s.io/v1", "IngressClass", name, None, {"controller": controller}, annotations=marks)


def gateway(
    name: str, *listeners: Mapping[str, Any], class_name: str = "eg", addresses: Sequence[str] = (), **metadata: str
) -> Resource:
    return made(
        "gateway.networking.k8s.io/v1",
        "Gateway",
        name,
        metadata.get("namespace", "shop"),
        {"gatewayClassName": class_name, "listeners": list(listeners)},
        {"addresses": [{"value": value} for value in addresses]},
    )


def route(
    name: str,
    parents: Sequence[Mapping[str, Any]],
    *rules: Mapping[str, Any],
    kind: str = "HTTPRoute",
    hosts: Sequence[str] = (),
    namespace: str = "shop",
) -> Resource:
    spec = {"parentRefs": list(parents), "hostnames": list(hosts), "rules": list(rules)}
    return made("gateway.networking.k8s.io/v1", kind, name, namespace, spec)


def made(
    api_version: str,
    kind: str,
    name: str,
    namespace: str | None,
    spec: Mapping[str, Any],
    status: Mapping[str, Any] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Resource:
    """Any object by its spec."""
    metadata: dict[str, Any] = {"name": name, "annotations": dict(annotations or {})}
    if namespace is not None:
        metadata["namespace"] = namespace
    body = {"kind": kind, "metadata": metadata, "spec": dict(spec), "status": dict(status or {})}
    return convert(api_version, kind, body)
