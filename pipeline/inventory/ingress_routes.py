"""Rows of routes from Ingresses and OpenShift's Routes.

Source: the API reference of Ingress (rules, default backend, class, TLS hosts) and of route.openshift.io/v1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from .controllers import CLASSES, Publishers, of_controller, of_router
from .ingress_models import Ingress, IngressBackend, IngressClass, Route
from .models import Resource, namespace_of
from .routes import Entrance, RouteRow, ServicePorts, pattern_type

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"
OPENSHIFT = "openshift.io/ingress-to-route"
PORTS = frozenset({80, 443})
"""An Ingress is HTTP and HTTPS alone."""

_PATH_TYPES = {"Exact": "exact", "Prefix": "prefix"}


def ingress_rows(
    resources: Iterable[Resource], publishers: Publishers, ports: ServicePorts
) -> Iterator[tuple[RouteRow, Entrance]]:
    """The rows of all Ingresses and Routes, each with its entrance."""
    known = list(resources)
    classes = {item.metadata.name: item for item in known if isinstance(item, IngressClass)}
    for item in known:
        if isinstance(item, Ingress):
            yield from _of_ingress(item, _entrance(item, classes, publishers), ports)
        elif isinstance(item, Route):
            yield from _of_route(item, ports)


def _entrance(ingress: Ingress, classes: Mapping[str, IngressClass], publishers: Publishers) -> Entrance:
    class_name = _class_name(ingress, classes)
    known = classes.get(class_name)
    controller = known.spec.controller if known else CLASSES.get(class_name, "")
    balancer = ingress.status.load_balancer
    published = (balancer.ingress if balancer else None) or []
    places = [entry.ip.address if entry.ip else entry.hostname for entry in published]
    told = of_controller(controller) if controller or not class_name else ()
    evidence = tuple(dict.fromkeys([*publishers.at(places, PORTS), *told]))
    return Entrance(f"Ingress/{namespace_of(ingress)}/{ingress.metadata.name}", class_name, controller, evidence)


def _class_name(ingress: Ingress, classes: Mapping[str, IngressClass]) -> str:
    """The class that an Ingress names, or the cluster's default."""
    named = ingress.spec.ingress_class_name or (ingress.metadata.annotations or {}).get(CLASS_ANNOTATION)
    defaults = (
        name for name, item in classes.items() if (item.metadata.annotations or {}).get(DEFAULT_CLASS) == "true"
    )
    return named or next(defaults, "")


def _of_ingress(ingress: Ingress, entrance: Entrance, ports: ServicePorts) -> Iterator[tuple[RouteRow, Entrance]]:
    def row(
        host: str, path: str, path_type: str, backend: IngressBackend | None
    ) -> Iterator[tuple[RouteRow, Entrance]]:
        service = backend.service if backend else None
        if service is None:
            return
        namespace = namespace_of(ingress)
        number = ports.number((namespace, service.name), service.port.number, service.port.name)
        where = (namespace, service.name, number, _is_tls(ingress, host), 1)
        origin = ("Ingress", namespace, ingress.metadata.name, host, path, path_type)
        yield RouteRow(*origin, *where, entrance.class_name, entrance.controller, entrance.name), entrance

    for rule in ingress.spec.rules or []:
        for path in (rule.http.paths if rule.http else None) or []:
            text = path.path or ""
            path_type = _PATH_TYPES.get(path.path_type or "") or pattern_type(text)
            yield from row(rule.host or "", text, path_type, path.backend)
    yield from row("", "", "prefix", ingress.spec.default_backend)


def _is_tls(ingress: Ingress, host: str) -> bool:
    offered = [entry.hosts or [] for entry in ingress.spec.tls or []]
    wildcard = "*." + host.partition(".")[2]
    return any(not hosts or host in hosts or wildcard in hosts for hosts in offered)


def _of_route(route: Route, ports: ServicePorts) -> Iterator[tuple[RouteRow, Entrance]]:
    namespace, spec = namespace_of(route), route.spec
    name = f"Route/{namespace}/{route.metadata.name}"
    routers = dict.fromkeys(entry.router_name for entry in route.status.ingress or [] if entry.router_name)
    told = [evidence for router in routers for evidence in of_router(router)]
    entrance = Entrance(name, "", OPENSHIFT, tuple(told or of_controller(OPENSHIFT)))
    origin = ("Route", namespace, route.metadata.name, spec.host or "", spec.path or "", "prefix")
    for target in (spec.to, *(spec.alternate_backends or [])):
        wanted = spec.port.target_port if spec.port else None
        for number in ports.targeting((namespace, target.name), wanted):
            weight = 100 if target.weight is None else target.weight
            where = (namespace, target.name, number, spec.tls is not None, weight)
            yield RouteRow(*origin, *where, "", OPENSHIFT, name), entrance
