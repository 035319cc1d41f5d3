"""EndpointSlice of discovery.k8s.io/v1: the endpoints of Services, a part of one Service's each.

The invariant: a port is a number here, or every port; names were resolved by whoever wrote the slice. What the slice's
type takes for an address is one.
"""

from __future__ import annotations

from typing import Literal

from .addresses import Address, parse_object
from .parts import Metadata, PortNumber, Slim


class EndpointConditions(Slim, frozen=True):
    """discovery.k8s.io EndpointConditions; absent means ready and serving, and not terminating."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class TargetReference(Slim, frozen=True):
    """The object behind an endpoint, as a rule a Pod."""

    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""


class SliceEndpoint(Slim, frozen=True):
    """One endpoint of a slice. The addresses of one endpoint are alike; those of an FQDN slice are host names."""

    addresses: list[str]
    conditions: EndpointConditions | None = None
    target_ref: TargetReference | None = None
    node_name: str | None = None
    zone: str | None = None


class SlicePort(Slim, frozen=True):
    """One port of a slice, by number: named target ports are resolved here. No number means every port."""

    name: str | None = None
    port: PortNumber | None = None
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"


class EndpointSlice(Slim, frozen=True):
    """discovery.k8s.io/v1 EndpointSlice: a part of the endpoints of one Service, of one address family."""

    metadata: Metadata
    address_type: str = "IPv4"
    endpoints: list[SliceEndpoint] | None = None
    ports: list[SlicePort] | None = None
    kind: str = "EndpointSlice"

    def __post_init__(self) -> None:
        for endpoint in self.endpoints or ():
            self.places(endpoint)

    def places(self, endpoint: SliceEndpoint) -> list[Address]:
        """The addresses of one of its endpoints; none of an FQDN slice's."""
        return [] if self.address_type == "FQDN" else [parse_object(text) for text in endpoint.addresses]

    @property
    def service(self) -> str:
        """Name of the Service that the slice belongs to; "" where it belongs to none."""
        return (self.metadata.labels or {}).get("kubernetes.io/service-name", "")
