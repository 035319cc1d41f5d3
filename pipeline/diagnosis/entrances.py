"""Ways into the cluster that lead nowhere: load balancers without an address, routes to Services that are not there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from ..inventory.gateway_models import GatewayRoute, GRPCRoute, HTTPRoute, TCPRoute, TLSRoute
from ..inventory.ingress_models import Ingress, IngressBackend, Route
from ..inventory.models import Service, namespace_of
from .evidence import Evidence, Name, full
from .finding import Finding

CHECK: Final = "entrances"
NO_SERVICE: Final = "use-annotation"
"""A port by which the AWS Load Balancer Controller says that the backend is an action that an annotation describes
(kubernetes-sigs.github.io/aws-load-balancer-controller, `actions.${action-name}`): it has the name of no Service."""


class Lead(NamedTuple):
    """One reference of a route to a Service; `port` is a number, a name, or None where it names none."""

    kind: str
    name: Name
    place: str
    service: Name
    port: int | str | None


def pending_load_balancers(evidence: Evidence) -> Iterator[Finding]:
    """Services of type LoadBalancer that no load balancer gave an address."""
    for name, service in evidence.services():
        balancer = service.status.load_balancer
        if service.spec.type == "LoadBalancer" and not (balancer and balancer.ingress):
            has_others = bool(service.spec.external_ips)
            yield Finding(
                CHECK,
                "warning",
                f"Service {full(name)}",
                "it is a LoadBalancer and has no address from outside",
                ("status.loadBalancer.ingress is empty", *(["spec.externalIPs has some"] if has_others else [])),
                f"kubectl -n {name[0]} describe service {name[1]}",
            )


def broken_routes(evidence: Evidence) -> Iterator[Finding]:
    """Ingresses and routes whose backend Service, or its port, does not exist."""
    services = evidence.cluster.services
    asked = {name for name, _ in evidence.services()}
    is_narrowed = evidence.service is not None or evidence.pod is not None
    for lead in _leads(evidence):
        if is_narrowed and lead.service not in asked and lead.service != evidence.service:
            continue
        service = services.get(lead.service)
        problem = _broken(service, lead)
        if problem is None:
            continue
        there = [f"the namespace has Services {', '.join(sorted(n for ns, n in services if ns == lead.service[0]))}"]
        if service is not None:
            ports = service.spec.ports or []
            there = [f"it has {', '.join(f'{p.port} ({p.name})' if p.name else str(p.port) for p in ports)}"]
        yield Finding(
            CHECK,
            "error",
            f"{lead.kind} {full(lead.name)}",
            problem,
            (f"at {lead.place}", *there),
            f"kubectl -n {lead.name[0]} get {lead.kind.lower()} {lead.name[1]} -o yaml",
        )


def _broken(service: Service | None, lead: Lead) -> str | None:
    if service is None:
        return f"its backend Service {full(lead.service)} does not exist"
    ports = service.spec.ports or []
    known = {port.port for port in ports} | {port.name for port in ports if port.name}
    if lead.port is None or lead.port in known or not ports:
        return None
    return f"its backend Service {full(lead.service)} has no port {lead.port}"


def _leads(evidence: Evidence) -> Iterator[Lead]:
    for item in evidence.cluster.objects:
        if isinstance(item, Ingress):
            yield from _of_ingress(item)
        elif isinstance(item, HTTPRoute | GRPCRoute | TLSRoute | TCPRoute):
            yield from _of_gateway_route(item)
        elif isinstance(item, Route):
            yield from _of_route(item)


def _of_ingress(item: Ingress) -> Iterator[Lead]:
    found: list[tuple[str, IngressBackend]] = []
    if item.spec.default_backend is not None:
        found.append(("spec.defaultBackend", item.spec.default_backend))
    for rule in item.spec.rules or []:
        paths = (rule.http.paths if rule.http else None) or []
        found += [(f"host {rule.host or '*'}, path {path.path or '/'}", path.backend) for path in paths]
    namespace = namespace_of(item)
    for place, backend in found:
        if backend.service is not None and backend.service.port.name != NO_SERVICE:
            port = backend.service.port.number or backend.service.port.name
            yield Lead("Ingress", (namespace, item.metadata.name), place, (namespace, backend.service.name), port)


def _of_gateway_route(item: GatewayRoute) -> Iterator[Lead]:
    namespace = namespace_of(item)
    for number, rule in enumerate(item.spec.rules or []):
        for reference in rule.backend_refs or []:
            if reference.group == "" and reference.kind == "Service":
                target = (reference.namespace or namespace, reference.name)
                yield Lead(item.kind, (namespace, item.metadata.name), f"rules[{number}]", target, reference.port)


def _of_route(item: Route) -> Iterator[Lead]:
    namespace = namespace_of(item)
    for target in (item.spec.to, *(item.spec.alternate_backends or [])):
        if target.kind == "Service":
            yield Lead("Route", (namespace, item.metadata.name), "spec.to", (namespace, target.name), None)
