"""Ingress and IngressClass of networking.k8s.io/v1 and OpenShift's Route: which host and path lead to which Service.

Only what routes are made of is here; what controllers read from annotations is theirs. The invariant: an absent host,
path or class is None, as written; what it then means is `routes`' business.
"""

from __future__ import annotations

from typing import Any

from .parts import Ip, Metadata, PortNumber, Slim


class BackendPort(Slim, frozen=True):
    """A Service's port, by number or by name."""

    number: PortNumber | None = None
    name: str | None = None


class ServiceBackend(Slim, frozen=True):
    """A Service of the Ingress's namespace."""

    name: str
    port: BackendPort = BackendPort()


class IngressBackend(Slim, frozen=True):
    """Where a path leads; a resource that is no Service is left out."""

    service: ServiceBackend | None = None


class IngressPath(Slim, frozen=True):
    """One path of a rule."""

    backend: IngressBackend
    path: str | None = None
    path_type: str | None = None


class IngressPaths(Slim, frozen=True):
    """What a rule says about HTTP."""

    paths: list[IngressPath] | None = None


class IngressRule(Slim, frozen=True):
    """The paths of one host; of every host where it names none."""

    host: str | None = None
    http: IngressPaths | None = None


class IngressTLS(Slim, frozen=True):
    """Hosts that are offered over TLS; every host of the Ingress where it names none."""

    hosts: list[str] | None = None


class IngressSpec(Slim, frozen=True):
    """networking.k8s.io/v1 IngressSpec."""

    ingress_class_name: str | None = None
    default_backend: IngressBackend | None = None
    rules: list[IngressRule] | None = None
    tls: list[IngressTLS] | None = None


class PublishedAddress(Slim, frozen=True):
    """An address or a host name under which a load balancer answers."""

    ip: Ip | None = None
    hostname: str | None = None


class PublishedAddresses(Slim, frozen=True):
    """What a load balancer published."""

    ingress: list[PublishedAddress] | None = None


class IngressStatus(Slim, frozen=True):
    """networking.k8s.io/v1 IngressStatus."""

    load_balancer: PublishedAddresses | None = None


class Ingress(Slim, frozen=True):
    """networking.k8s.io/v1 Ingress."""

    metadata: Metadata
    spec: IngressSpec = IngressSpec()
    status: IngressStatus = IngressStatus()
    kind: str = "Ingress"


class IngressClassSpec(Slim, frozen=True):
    """networking.k8s.io/v1 IngressClassSpec."""

    controller: str = ""


class IngressClass(Slim, frozen=True):
    """networking.k8s.io/v1 IngressClass: which controller serves the Ingresses of a class."""

    metadata: Metadata
    spec: IngressClassSpec = IngressClassSpec()
    kind: str = "IngressClass"


class RouteTarget(Slim, frozen=True):
    """A Service of the Route's namespace; no weight means 100."""

    name: str
    kind: str = "Service"
    weight: int | None = None


class RoutePort(Slim, frozen=True):
    """The target port of the pods, by number or by name of the Service's port."""

    target_port: int | str


class RouteSpec(Slim, frozen=True):
    """route.openshift.io/v1 RouteSpec."""

    to: RouteTarget
    host: str | None = None
    path: str | None = None
    alternate_backends: list[RouteTarget] | None = None
    port: RoutePort | None = None
    tls: dict[str, Any] | None = None


class RouterStatus(Slim, frozen=True):
    """What a router says of a Route that it serves; its name is that of its IngressController."""

    router_name: str | None = None


class RouteStatus(Slim, frozen=True):
    """route.openshift.io/v1 RouteStatus."""

    ingress: list[RouterStatus] | None = None


class Route(Slim, frozen=True):
    """route.openshift.io/v1 Route."""

    metadata: Metadata
    spec: RouteSpec
    status: RouteStatus = RouteStatus()
    kind: str = "Route"
