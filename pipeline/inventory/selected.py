"""The EndpointSlices that a dump leaves out, as their controller would write them by a Service's selector.

A dump says nothing of readiness that is read here: a pod that runs and is not being deleted is taken to be ready. The
invariant: a Service of which the objects hold any slice, or that has no selector, gets none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from .addresses import NO_ADDRESS, Address
from .claims import TERMINAL_PHASES, cluster_ips
from .models import Pod, Resource, Service, ServicePort, namespace_of
from .parts import Metadata
from .slice_models import EndpointConditions, EndpointSlice, SliceEndpoint, SlicePort


def selected_slices(resources: Iterable[Resource]) -> Iterator[EndpointSlice]:
    """One slice a Service, pod and address family."""
    resources = list(resources)
    told = {(namespace_of(item), item.service) for item in resources if isinstance(item, EndpointSlice)}
    pods: dict[str, list[Pod]] = defaultdict(list)
    for item in resources:
        if isinstance(item, Pod) and item.status.phase not in TERMINAL_PHASES:
            pods[namespace_of(item)].append(item)
    for service in resources:
        if isinstance(service, Service) and (namespace_of(service), service.metadata.name) not in told:
            for pod in _selected(service, pods[namespace_of(service)]):
                yield from _slices(service, pod)


def target_port(port: ServicePort, pod: Pod) -> int | None:
    """The number that a Service port means on a pod; None where it names a port that the pod does not declare."""
    target = port.port if port.target_port is None else port.target_port
    if isinstance(target, int):
        return target or port.port
    if target.isdigit():
        return int(target)
    return next(
        (entry.container_port for entry in pod.spec.ports if entry.name == target and entry.protocol == port.protocol),
        None,
    )


def _selected(service: Service, pods: Iterable[Pod]) -> Iterator[Pod]:
    selector = service.spec.selector
    if selector and service.spec.type != "ExternalName":
        yield from (pod for pod in pods if selector.items() <= (pod.metadata.labels or {}).items())


def _slices(service: Service, pod: Pod) -> Iterator[EndpointSlice]:
    numbers = [(port, target_port(port, pod)) for port in service.spec.ports or []]
    ports = [SlicePort(port.name or "", number, port.protocol) for port, number in numbers if number is not None]
    conditions = EndpointConditions(ready=pod.metadata.deletion_timestamp is None)
    families = {address.family for address in cluster_ips(service)}
    addresses: dict[str, list[str]] = defaultdict(list)
    for address in _addresses(pod):
        if not families or address.family in families:
            addresses[address.family].append(str(address))
    for family, texts in addresses.items():
        metadata = Metadata(
            f"{service.metadata.name}-{pod.metadata.name}-{family.lower()}",
            namespace_of(service),
            labels={"kubernetes.io/service-name": service.metadata.name},
        )
        yield EndpointSlice(metadata, family, [SliceEndpoint(texts, conditions)], ports)


def _addresses(pod: Pod) -> list[Address]:
    """Where the pod is reached, in its node's network too."""
    ips = [pod.status.pod_ip, *(entry.ip for entry in pod.status.pod_ips or [])]
    return [address for address in dict.fromkeys(ip.address for ip in ips if ip is not None) if address != NO_ADDRESS]
