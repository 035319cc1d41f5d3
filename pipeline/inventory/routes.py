"""What a route is: a host and path that lead to a Service, and what proxies for it. `routing` makes frames of it.

The invariant: names and not ids are in these rows, so that they stay true while pods and Services come and go; a route
whose Service or port is not known is a row too, and meets no flow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import polars as pl

from .controllers import Evidence
from .models import Resource, Service, namespace_of

PATH_TYPES: Final[pl.Enum] = pl.Enum(["prefix", "exact", "pattern"])

ROUTES: Final = pl.Schema(
    {
        "kind": pl.String(),  # Ingress, Route, HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, VirtualService
        "namespace": pl.String(),
        "name": pl.String(),
        "host": pl.String(),  # "" for every host; `*.example.com` for all below one
        "path": pl.String(),  # "" for every path
        "path_type": PATH_TYPES,
        "service_namespace": pl.String(),
        "service": pl.String(),
        "port": pl.UInt16(),  # the Service's port; 0 where it cannot be told
        "tls": pl.Boolean(),  # whether the host is offered over TLS
        "weight": pl.UInt32(),  # the share of the Service among those of the same host and path; never 0
        "class": pl.String(),  # IngressClass or GatewayClass; "" where none is named
        "controller": pl.String(),  # as the class says
        "entrance": pl.String(),  # what has `CONTROLLERS`: the Ingress, Route or Gateway, as kind/namespace/name
    }
)
ORIGIN: Final = ("kind", "namespace", "name", "host", "path", "path_type")
"""What makes a route. It may have several rows for a Service: by several entrances, or by rules that look at more."""
CONTROLLERS: Final = pl.Schema(
    {
        "entrance": pl.String(),
        "rank": pl.UInt8(),  # of what finds anyone, the least counts
        "namespace": pl.String(),
        "labels": pl.String(),
        "workload": pl.String(),
    }
)
"""`controllers.Evidence` by entrance."""


class RouteRow(NamedTuple):
    """One row of `ROUTES`."""

    kind: str
    namespace: str
    name: str
    host: str
    path: str
    path_type: str
    service_namespace: str
    service: str
    port: int
    tls: bool
    weight: int
    class_name: str
    controller: str
    entrance: str

    @property
    def origin(self) -> tuple[object, ...]:
        """By `ORIGIN`."""
        return self[: len(ORIGIN)]


@dataclass(frozen=True, slots=True)
class Entrance:
    """What a route hangs on, and who serves it."""

    name: str
    class_name: str
    controller: str
    evidence: Sequence[Evidence]


class ServicePorts:
    """The ports of Services by number and by name."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._services = {
            (namespace_of(item), item.metadata.name): item.spec.ports or []
            for item in resources
            if isinstance(item, Service)
        }

    def number(self, service: tuple[str, str], number: int | None, name: str | None = None) -> int:
        """The number of a port that is numbered or named; the only port where it is neither; 0 where unknown."""
        if number:
            return number
        ports = self._services.get(service, [])
        if name:
            return next((port.port for port in ports if port.name == name), 0)
        return ports[0].port if len(ports) == 1 else 0

    def targeting(self, service: tuple[str, str], target: int | str | None) -> list[int]:
        """The ports that lead to a target port, by its number or by the name of either; all ports where it is None."""
        return [
            port.port
            for port in self._services.get(service, [])
            if target is None or target in {port.name, port.port if port.target_port is None else port.target_port}
        ]


def pattern_type(path: str, default: str = "prefix") -> str:
    """`pattern` for a path that is a regular expression, else the default."""
    return "pattern" if set(path) & set("()[]{}|*+?^$\\") else default
