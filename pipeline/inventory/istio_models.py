"""Istio's VirtualService, DestinationRule, Gateway and PeerAuthentication, as far as flows can show what they ask for.

The invariant: only what is read is here. What Istio matches inside a request (headers, methods, query) is not, so a
route whose match says more than a path stands beside its siblings and is never preferred.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .parts import Metadata, PortNumber, Slim


class PortSelector(Slim, frozen=True):
    """A port by number."""

    number: PortNumber | None = None


class Destination(Slim, frozen=True):
    """A host, which is a Service's short or full name, and a subset of its pods."""

    host: str
    subset: str | None = None
    port: PortSelector | None = None


class WeightedDestination(Slim, frozen=True):
    """A destination and its share; a single one has none written."""

    destination: Destination
    weight: int | None = None


class StringMatch(Slim, frozen=True):
    """How a text must look; one of the three."""

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None


class VirtualServiceMatch(Slim, frozen=True):
    """One alternative of a rule, of HTTP (`uri`) or TLS (`sniHosts`)."""

    uri: StringMatch | None = None
    sni_hosts: list[str] | None = None
    gateways: list[str] | None = None
    port: PortNumber | None = None
    headers: dict[str, Any] | None = None


class VirtualServiceRule(Slim, frozen=True):
    """One rule: the first that matches is taken."""

    match: list[VirtualServiceMatch] | None = None
    route: list[WeightedDestination] | None = None


class VirtualServiceSpec(Slim, frozen=True):
    """networking.istio.io VirtualService; no gateways means the mesh."""

    hosts: list[str] | None = None
    gateways: list[str] | None = None
    http: list[VirtualServiceRule] | None = None
    tls: list[VirtualServiceRule] | None = None
    tcp: list[VirtualServiceRule] | None = None


class VirtualService(Slim, frozen=True):
    """networking.istio.io VirtualService."""

    metadata: Metadata
    spec: VirtualServiceSpec = VirtualServiceSpec()
    kind: str = "VirtualService"


class TCPSettings(Slim, frozen=True):
    """ConnectionPoolSettings.TCPSettings."""

    max_connections: int | None = None


class ConnectionPool(Slim, frozen=True):
    """ConnectionPoolSettings."""

    tcp: TCPSettings | None = None


class TrafficPolicy(Slim, frozen=True):
    """TrafficPolicy."""

    connection_pool: ConnectionPool | None = None

    @property
    def max_connections(self) -> int | None:
        """How many TCP connections a client's proxy may have open; None where it is not bounded."""
        pool = self.connection_pool
        return pool.tcp.max_connections if pool and pool.tcp else None


class Subset(Slim, frozen=True):
    """Some of a Service's pods, by their labels."""

    name: str
    labels: dict[str, str] | None = None
    traffic_policy: TrafficPolicy | None = None


class DestinationRuleSpec(Slim, frozen=True):
    """networking.istio.io DestinationRule."""

    host: str
    traffic_policy: TrafficPolicy | None = None
    subsets: list[Subset] | None = None


class DestinationRule(Slim, frozen=True):
    """networking.istio.io DestinationRule."""

    metadata: Metadata
    spec: DestinationRuleSpec
    kind: str = "DestinationRule"


class ServerPort(Slim, frozen=True):
    """The port of an Istio Gateway's server."""

    number: PortNumber
    protocol: str = ""


class GatewayServer(Slim, frozen=True):
    """One port that an Istio Gateway listens on."""

    port: ServerPort
    hosts: list[str] | None = None


class IstioGatewaySpec(Slim, frozen=True):
    """networking.istio.io Gateway: pods of any namespace by their labels."""

    selector: dict[str, str] | None = None
    servers: list[GatewayServer] | None = None


class IstioGateway(Slim, frozen=True):
    """networking.istio.io Gateway; its kind is that of the Gateway API's, its group is not."""

    metadata: Metadata
    spec: IstioGatewaySpec = IstioGatewaySpec()
    kind: str = "Gateway"


class WorkloadSelector(Slim, frozen=True):
    """Pods by their labels."""

    match_labels: dict[str, str] | None = None


class MutualTLS(Slim, frozen=True):
    """What a workload accepts: STRICT, PERMISSIVE, DISABLE or UNSET."""

    mode: str = "UNSET"


class PeerAuthenticationSpec(Slim, frozen=True):
    """security.istio.io PeerAuthentication."""

    selector: WorkloadSelector | None = None
    mtls: MutualTLS | None = None
    port_level_mtls: dict[str, MutualTLS] | None = None


class PeerAuthentication(Slim, frozen=True):
    """security.istio.io PeerAuthentication."""

    metadata: Metadata
    spec: PeerAuthenticationSpec = PeerAuthenticationSpec()
    kind: str = "PeerAuthentication"


def service_of(host: str, namespace: str) -> tuple[str, str] | None:
    """Namespace and name of the Service that an Istio host means, read in `namespace`; None for another kind of host.

    `reviews`, `reviews.default`, `reviews.default.svc` and `reviews.default.svc.cluster.local` are all Service names.
    """
    name, *rest = host.split(".")
    match rest:
        case []:
            return namespace, name
        case [other] | [other, "svc"] | [other, "svc", _, *_]:
            return other, name
    return None


def labels_match(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether all labels are there with their values."""
    return wanted.items() <= labels.items()
