"""Which pods serve an Ingress or Gateway, as evidence: labels to look for, the best first.

Who answers at the address that the object publishes, then the label that a Gateway's controller puts on the pods it
makes, then the labels and names of known controllers' own manifests. Better evidence that finds anyone rules out worse.
The invariant: pods themselves are not here, so that they may come and go; `attribution` finds them by their labels.

Sources: the label references of the projects named in `KNOWN`; GEP-1762 for `gateway.networking.k8s.io/gateway-name`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from .claims import cluster_ips, external_ips, load_balancer_ips
from .models import Resource, Service, namespace_of

Labels = Mapping[str, str]

PUBLISHED, OWNED, LABELLED, NAMED = range(4)
"""How good the evidence is; smaller is better."""

GATEWAY_NAME: Final = "gateway.networking.k8s.io/gateway-name"
ENVOY_GATEWAY: Final = "gateway.envoyproxy.io/owning-gateway-"


@dataclass(frozen=True, slots=True)
class Known:
    """How a controller's own manifests label its proxies; `name` is part of the names of its workloads."""

    labels: tuple[Labels, ...]
    name: str


_NGINX: Final = Known(
    ({"app.kubernetes.io/name": "ingress-nginx", "app.kubernetes.io/component": "controller"},), "ingress-nginx"
)
_F5: Final = Known(({"app.kubernetes.io/name": "nginx-ingress"}, {"app": "nginx-ingress"}), "nginx-ingress")
_TRAEFIK: Final = Known(({"app.kubernetes.io/name": "traefik"},), "traefik")
_HAPROXY: Final = Known(({"app.kubernetes.io/name": "kubernetes-ingress"}, {"run": "haproxy-ingress"}), "haproxy")
_HAPROXY_INGRESS: Final = Known(({"app.kubernetes.io/name": "haproxy-ingress"},), "haproxy-ingress")
_CONTOUR: Final = Known(
    ({"app.kubernetes.io/name": "contour", "app.kubernetes.io/component": "envoy"}, {"app": "envoy"}), "contour-envoy"
)
_ISTIO: Final = Known(({"istio": "ingressgateway"}, {"istio": "ingress"}), "istio-ingress")
_KONG: Final = Known(({"app.kubernetes.io/name": "kong"}, {"app.kubernetes.io/name": "gateway"}), "kong")
_ROUTER: Final = "ingresscontroller.operator.openshift.io/deployment-ingresscontroller"
_OPENSHIFT: Final = Known(({_ROUTER: "default"},), "router-default")

KNOWN: Final[Mapping[str, Known]] = {
    "k8s.io/ingress-nginx": _NGINX,
    "nginx.org/": _F5,
    "traefik.io/": _TRAEFIK,
    "haproxy.org/": _HAPROXY,
    "haproxy-ingress.github.io/": _HAPROXY_INGRESS,
    "projectcontour.io/": _CONTOUR,
    "istio.io/": _ISTIO,
    "ingress-controllers.konghq.com/": _KONG,
    "konghq.com/": _KONG,
    "openshift.io/": _OPENSHIFT,
}
"""By the beginning of the controller's name in IngressClass or GatewayClass."""

CLASSES: Final[Mapping[str, str]] = {
    "nginx": "k8s.io/ingress-nginx",
    "traefik": "traefik.io/ingress-controller",
    "haproxy": "haproxy.org/ingress-controller",
    "contour": "projectcontour.io/ingress-controller",
    "istio": "istio.io/ingress-controller",
    "kong": "ingress-controllers.konghq.com/kong",
}
"""The controllers' own names of their classes, for clusters without IngressClass objects."""


class Evidence(NamedTuple):
    """Pods with these labels, of one namespace or ("") of any; or, without labels, of workloads that have this name."""

    rank: int
    namespace: str
    labels: str  # as `label_text` writes them
    name: str  # a part of the workload's


def label_text(labels: Labels) -> str:
    """Labels as one text, the same for the same labels: neither a key nor a value can hold `=` or `,`."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def labels_of(text: str) -> dict[str, str]:
    """The labels that `label_text` wrote."""
    return dict(pair.split("=", 1) for pair in text.split(",") if pair)


class Publishers:
    """Services by the addresses and host names under which they are published."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._services: dict[object, list[Service]] = {}
        for service in resources:
            if isinstance(service, Service) and service.spec.selector and service.spec.type != "ExternalName":
                for place in dict.fromkeys(_places(service)):
                    self._services.setdefault(place, []).append(service)

    def at(self, places: Iterable[object], ports: Collection[object]) -> Iterator[Evidence]:
        """The pods behind the Services that publish these addresses and host names on such a port: several Services may
        share an address."""
        for place in places:
            for service in self._services.get(place, ()):
                if any(port.port in ports or port.target_port in ports for port in service.spec.ports or ()):
                    yield Evidence(PUBLISHED, namespace_of(service), label_text(service.spec.selector or {}), "")


def of_gateway(namespace: str, name: str) -> Iterator[Evidence]:
    """The pods that were made for a Gateway."""
    yield Evidence(OWNED, namespace, label_text({GATEWAY_NAME: name}), "")
    owned = {f"{ENVOY_GATEWAY}name": name, f"{ENVOY_GATEWAY}namespace": namespace}
    yield Evidence(OWNED, "", label_text(owned), "")


def of_controller(controller: str) -> Iterator[Evidence]:
    """The pods of a controller, told by the name that it has in classes; those of every known one where that is ""."""
    for prefix, known in KNOWN.items():
        if not controller or controller.startswith(prefix):
            yield from (Evidence(LABELLED, "", label_text(labels), "") for labels in known.labels)
            yield Evidence(NAMED, "", "", known.name)


def of_router(name: str) -> Iterator[Evidence]:
    """The pods of OpenShift's IngressController of this name."""
    yield Evidence(LABELLED, "", label_text({_ROUTER: name}), "")
    yield Evidence(NAMED, "", "", f"router-{name}")


def _places(service: Service) -> Iterator[object]:
    balancer = service.status.load_balancer
    yield from (entry.hostname for entry in (balancer.ingress if balancer else None) or [] if entry.hostname)
    yield from (*load_balancer_ips(service), *external_ips(service), *cluster_ips(service))
