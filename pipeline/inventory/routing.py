"""The frames of Ingresses and Gateways: `routes`, and `route_controllers`, the evidence of who serves them.

Pure functions of the current objects, in the form that `tracked` keeps over time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from .controllers import Publishers
from .gateway_models import Gateway, GatewayClass, GRPCRoute, HTTPRoute, TCPRoute, TLSRoute
from .gateway_routes import gateway_rows
from .ingress_models import Ingress, IngressClass, Route
from .ingress_routes import ingress_rows
from .istio_models import IstioGateway, VirtualService
from .istio_routes import virtual_service_rows
from .models import Resource, Service
from .routes import CONTROLLERS, ROUTES, Entrance, RouteRow, ServicePorts
from .tracked import Row, TrackedFrame

_KINDS: Final[tuple[type[Resource], ...]] = (
    Service,
    Ingress,
    IngressClass,
    Route,
    Gateway,
    GatewayClass,
    HTTPRoute,
    GRPCRoute,
    TLSRoute,
    TCPRoute,
    IstioGateway,
    VirtualService,
)


def route_rows(resources: Sequence[Resource]) -> list[RouteRow]:
    """One row a host, path, Service and entrance, in the order of their text."""
    return sorted({row for row, _ in _rows(resources)})


def controller_rows(resources: Sequence[Resource]) -> list[Row]:
    """What is evidence of who serves an entrance, by `CONTROLLERS`."""
    entrances = {entrance.name: entrance for _, entrance in _rows(resources)}
    return [(name, *evidence) for name in sorted(entrances) for evidence in entrances[name].evidence]


def _rows(resources: Sequence[Resource]) -> Iterator[tuple[RouteRow, Entrance]]:
    """What any kind leads to; a backend of weight 0 gets no traffic, and makes no row. A route is offered over TLS
    where one of its entrances does so."""
    publishers, ports = Publishers(resources), ServicePorts(resources)
    found = [
        (row, entrance)
        for source in (ingress_rows, gateway_rows, virtual_service_rows)
        for row, entrance in source(resources, publishers, ports)
        if row.weight
    ]
    secured = {row.origin for row, _ in found if row.tls}
    yield from ((row._replace(tls=row.origin in secured), entrance) for row, entrance in found)


ROUTES_FRAME: Final = TrackedFrame("routes", ROUTES, _KINDS, route_rows, "route_id")
CONTROLLERS_FRAME: Final = TrackedFrame("route_controllers", CONTROLLERS, _KINDS, controller_rows)
