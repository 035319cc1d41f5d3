"""Gateway, GatewayClass and the routes of gateway.networking.k8s.io (v1, v1beta1, v1alpha2, v1alpha3).

All route kinds have parents, host names and rules with backends; TCPRoute has no host names. The invariant: a reference
without a kind, group or namespace means what the API's defaults say, filled in here where they are fixed.
"""

from __future__ import annotations

from .parts import Metadata, PortNumber, Slim


class Listener(Slim, frozen=True):
    """One port that a Gateway listens on; no host name means every host."""

    name: str
    port: PortNumber
    protocol: str
    hostname: str | None = None


class GatewaySpec(Slim, frozen=True):
    """GatewaySpec."""

    gateway_class_name: str
    listeners: list[Listener] | None = None


class GatewayAddress(Slim, frozen=True):
    """An address or host name that the Gateway answers on."""

    value: str = ""


class GatewayStatus(Slim, frozen=True):
    """GatewayStatus."""

    addresses: list[GatewayAddress] | None = None


class Gateway(Slim, frozen=True):
    """gateway.networking.k8s.io Gateway."""

    metadata: Metadata
    spec: GatewaySpec
    status: GatewayStatus = GatewayStatus()
    kind: str = "Gateway"


class GatewayClassSpec(Slim, frozen=True):
    """GatewayClassSpec."""

    controller_name: str = ""


class GatewayClass(Slim, frozen=True):
    """gateway.networking.k8s.io GatewayClass."""

    metadata: Metadata
    spec: GatewayClassSpec = GatewayClassSpec()
    kind: str = "GatewayClass"


class ParentReference(Slim, frozen=True):
    """What a route hangs on: a Gateway, or a Service where the route is a mesh's."""

    name: str
    group: str = "gateway.networking.k8s.io"
    kind: str = "Gateway"
    namespace: str | None = None
    section_name: str | None = None
    port: PortNumber | None = None


class BackendReference(Slim, frozen=True):
    """One backend of a rule; weights are shares of their sum."""

    name: str
    group: str = ""
    kind: str = "Service"
    namespace: str | None = None
    port: PortNumber | None = None
    weight: int | None = None


class PathMatch(Slim, frozen=True):
    """How a path must look."""

    type: str = "PathPrefix"
    value: str = "/"


class MethodMatch(Slim, frozen=True):
    """How a gRPC method must look."""

    service: str | None = None
    method: str | None = None


class RouteMatch(Slim, frozen=True):
    """One alternative of a rule. HTTP's `method` is text and of no interest here."""

    path: PathMatch | None = None
    method: MethodMatch | str | None = None


class GatewayRule(Slim, frozen=True):
    """One rule of a route."""

    matches: list[RouteMatch] | None = None
    backend_refs: list[BackendReference] | None = None


class GatewayRouteSpec(Slim, frozen=True):
    """What the specs of all route kinds have in common."""

    parent_refs: list[ParentReference] | None = None
    hostnames: list[str] | None = None
    rules: list[GatewayRule] | None = None


class GatewayRoute(Slim, frozen=True, kw_only=True):
    """What all route kinds are."""

    metadata: Metadata
    spec: GatewayRouteSpec = GatewayRouteSpec()
    kind: str


class HTTPRoute(GatewayRoute, frozen=True, kw_only=True):
    """gateway.networking.k8s.io HTTPRoute."""

    kind: str = "HTTPRoute"


class GRPCRoute(GatewayRoute, frozen=True, kw_only=True):
    """gateway.networking.k8s.io GRPCRoute."""

    kind: str = "GRPCRoute"


class TLSRoute(GatewayRoute, frozen=True, kw_only=True):
    """gateway.networking.k8s.io TLSRoute: told apart by SNI alone."""

    kind: str = "TLSRoute"


class TCPRoute(GatewayRoute, frozen=True, kw_only=True):
    """gateway.networking.k8s.io TCPRoute: a port and no name."""

    kind: str = "TCPRoute"
