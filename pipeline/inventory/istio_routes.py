"""Rows of routes from Istio's VirtualServices that are bound to an Istio Gateway.

Those of the mesh (no gateways, or `mesh`) are no entrance and not here. The invariant: what a rule matches beyond path
and SNI is not seen in a flow, so such a rule is a route like any other.

Source: the reference of networking.istio.io VirtualService and Gateway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .controllers import LABELLED, Evidence, Publishers, label_text
from .istio_models import IstioGateway, StringMatch, VirtualService, VirtualServiceMatch, VirtualServiceRule, service_of
from .models import Resource, namespace_of
from .routes import Entrance, RouteRow, ServicePorts

CONTROLLER = "istio.io/gateway"
MESH = "mesh"
TLS_PROTOCOLS = frozenset({"HTTPS", "TLS"})


def virtual_service_rows(
    resources: Iterable[Resource], publishers: Publishers, ports: ServicePorts
) -> Iterator[tuple[RouteRow, Entrance]]:
    """The rows of all VirtualServices under each Istio Gateway that they name, with the Gateway as entrance."""
    known = list(resources)
    gateways = {(namespace_of(item), item.metadata.name): item for item in known if isinstance(item, IstioGateway)}
    for item in known:
        if not isinstance(item, VirtualService):
            continue
        for text in item.spec.gateways or []:
            namespace, slash, name = text.rpartition("/")
            gateway = gateways.get((namespace if slash and namespace != "." else namespace_of(item), name))
            if gateway is not None and text != MESH:
                yield from _rows(item, text, gateway, _entrance(gateway), ports)


def _entrance(gateway: IstioGateway) -> Entrance:
    selector = gateway.spec.selector or {}
    evidence = (Evidence(LABELLED, "", label_text(selector), ""),) if selector else ()
    return Entrance(f"IstioGateway/{namespace_of(gateway)}/{gateway.metadata.name}", "", CONTROLLER, evidence)


def _rows(
    item: VirtualService, bound: str, gateway: IstioGateway, entrance: Entrance, ports: ServicePorts
) -> Iterator[tuple[RouteRow, Entrance]]:
    namespace, spec = namespace_of(item), item.spec
    is_tls = any(server.port.protocol.upper() in TLS_PROTOCOLS for server in gateway.spec.servers or [])
    hosts = ["" if host == "*" else host for host in spec.hosts or []]
    rules = [*(spec.http or []), *(spec.tls or []), *(spec.tcp or [])]
    for rule in rules:
        for target in rule.route or []:
            service = service_of(target.destination.host, namespace)
            if service is None:
                continue
            number = target.destination.port.number if target.destination.port else None
            weight = 100 if target.weight is None else target.weight
            where = (*service, ports.number(service, number), is_tls, weight)
            for match in _matches(rule, bound):
                for host in match.sni_hosts or hosts:
                    origin = ("VirtualService", namespace, item.metadata.name, host, *_path(match.uri))
                    yield RouteRow(*origin, *where, "", CONTROLLER, entrance.name), entrance


def _matches(rule: VirtualServiceRule, bound: str) -> list[VirtualServiceMatch]:
    matches = rule.match or [VirtualServiceMatch()]
    return [match for match in matches if not match.gateways or bound in match.gateways]


def _path(uri: StringMatch | None) -> tuple[str, str]:
    if uri is None:
        return "", "prefix"
    if uri.exact is not None:
        return uri.exact, "exact"
    return (uri.prefix, "prefix") if uri.prefix is not None else (uri.regex or "", "pattern")
