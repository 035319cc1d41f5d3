"""Rows of routes from the Gateway API: each route under each Gateway that it names.

A reference to another namespace is taken as it is written: whether a ReferenceGrant allows it is not judged, for a
route that is refused gets no traffic. A route whose parent is a Service is a mesh's and no entrance.

Source: the API reference of gateway.networking.k8s.io (HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, Gateway).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from .addresses import parse
from .controllers import Publishers, of_controller, of_gateway
from .gateway_models import (
    Gateway,
    GatewayClass,
    GatewayRoute,
    GatewayRule,
    Listener,
    MethodMatch,
    ParentReference,
    RouteMatch,
)
from .models import Resource, namespace_of
from .routes import Entrance, RouteRow, ServicePorts

GROUP = "gateway.networking.k8s.io"
TLS_PROTOCOLS = frozenset({"HTTPS", "TLS"})

_KINDS = frozenset({"HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute"})
_CARRIED = {
    "HTTP": frozenset({"HTTPRoute", "GRPCRoute"}),
    "HTTPS": frozenset({"HTTPRoute", "GRPCRoute"}),
    "TLS": frozenset({"TLSRoute", "TCPRoute"}),
    "TCP": frozenset({"TCPRoute"}),
    "UDP": frozenset[str](),
}
"""What a listener of each protocol takes; one of another protocol may take every kind."""
_PATH_TYPES = {"Exact": "exact", "PathPrefix": "prefix", "RegularExpression": "pattern"}


def gateway_rows(
    resources: Iterable[Resource], publishers: Publishers, ports: ServicePorts
) -> Iterator[tuple[RouteRow, Entrance]]:
    """The rows of all routes, each with the Gateway that is its entrance."""
    known = list(resources)
    classes = {item.metadata.name: item for item in known if isinstance(item, GatewayClass)}
    gateways = {(namespace_of(item), item.metadata.name): item for item in known if isinstance(item, Gateway)}
    entrances: dict[tuple[str, str], Entrance] = {}
    for route in known:
        if not isinstance(route, GatewayRoute):
            continue
        bound: dict[tuple[str, str], list[Listener]] = defaultdict(list)
        for parent in route.spec.parent_refs or []:
            if (parent.group, parent.kind) == (GROUP, "Gateway"):
                key = parent.namespace or namespace_of(route), parent.name
                bound[key] += _listeners(gateways.get(key), parent)
        for key, listeners in bound.items():
            if key not in entrances:
                entrances[key] = _entrance(key, gateways.get(key), classes, publishers)
            yield from _rows(route, listeners, entrances[key], ports)


def _entrance(
    key: tuple[str, str], gateway: Gateway | None, classes: Mapping[str, GatewayClass], publishers: Publishers
) -> Entrance:
    class_name = gateway.spec.gateway_class_name if gateway else ""
    controller = classes[class_name].spec.controller_name if class_name in classes else ""
    places = [_place(entry.value) for entry in (gateway.status.addresses if gateway else None) or []]
    ports = {listener.port for listener in (gateway.spec.listeners if gateway else None) or []}
    told = of_controller(controller) if controller else ()
    evidence = [*publishers.at(places, ports), *of_gateway(*key), *told]
    return Entrance("Gateway/{}/{}".format(*key), class_name, controller, tuple(dict.fromkeys(evidence)))


def _place(text: str) -> object:
    try:
        return parse(text)
    except ValueError:
        return text


def _listeners(gateway: Gateway | None, parent: ParentReference) -> list[Listener]:
    return [
        listener
        for listener in (gateway.spec.listeners if gateway else None) or []
        if parent.section_name in {None, listener.name} and parent.port in {None, listener.port}
    ]


def _rows(
    route: GatewayRoute, listeners: list[Listener], entrance: Entrance, ports: ServicePorts
) -> Iterator[tuple[RouteRow, Entrance]]:
    offers = _offers(route, listeners)
    namespace = namespace_of(route)
    for rule in route.spec.rules or []:
        for reference in rule.backend_refs or []:
            if (reference.group, reference.kind) != ("", "Service"):
                continue
            service = reference.namespace or namespace, reference.name
            weight = 1 if reference.weight is None else reference.weight
            where = (*service, ports.number(service, reference.port))
            for host, is_tls in offers.items():
                for path, path_type in _paths(route.kind, rule):
                    origin = (route.kind, namespace, route.metadata.name, host, path, path_type)
                    served = (entrance.class_name, entrance.controller, entrance.name)
                    yield RouteRow(*origin, *where, is_tls, weight, *served), entrance


def _offers(route: GatewayRoute, listeners: list[Listener]) -> dict[str, bool]:
    """Each host under which listeners offer the route, and whether any does so over TLS; its own where no listener is
    known."""
    own = route.spec.hostnames or [""]
    found = {} if listeners else dict.fromkeys(own, False)
    for listener in listeners:
        if route.kind in _CARRIED.get(listener.protocol, _KINDS):
            for name in own:
                if (host := _common(name, listener.hostname or "")) is not None:
                    found[host] = found.get(host, False) or listener.protocol in TLS_PROTOCOLS
    return found


def _common(one: str, other: str) -> str | None:
    """The hosts that two host names both mean, each of which may be a wildcard or ("") every host."""
    for wide, narrow in ((one, other), (other, one)):
        if wide in {"", narrow} or (wide.startswith("*.") and narrow.endswith(wide[1:])):
            return narrow
    return None


def _paths(kind: str, rule: GatewayRule) -> Iterator[tuple[str, str]]:
    if kind not in {"HTTPRoute", "GRPCRoute"}:
        yield "", "prefix"
        return
    for match in rule.matches or [RouteMatch()]:
        if isinstance(match.method, MethodMatch):
            yield _method_path(match.method)
        elif match.path:
            yield match.path.value, _PATH_TYPES.get(match.path.type, "pattern")
        else:
            yield "/", "prefix"


def _method_path(method: MethodMatch) -> tuple[str, str]:
    """The path of a gRPC method: `/package.Service/Method`."""
    if method.service and method.method:
        return f"/{method.service}/{method.method}", "exact"
    if method.service:
        return f"/{method.service}", "prefix"
    return ("", "prefix") if method.method is None else (f"^/[^/]+/{method.method}$", "pattern")
