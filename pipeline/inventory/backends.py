"""Who answers for a Service port, by EndpointSlices, and which hostNetwork pod answers on a port of its node.

A key may have several answers here: `attribution` says `ambiguous`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import polars as pl

from .addresses import Address
from .claims import TERMINAL_PHASES, reported
from .endpoints import Roster
from .models import Node, Pod, Resource, ServicePort, namespace_of
from .services import PROTOCOLS
from .slice_models import EndpointSlice, SliceEndpoint
from .spans import ALWAYS, SPAN

BACKENDS: Final = pl.Schema(
    {
        "addr_hi": pl.UInt64(),
        "addr_lo": pl.UInt64(),
        "port": pl.UInt16(),
        "protocol": pl.UInt8(),
        "service_id": pl.UInt32(),  # several Service ports may have the same backend
        "is_ready": pl.Boolean(),
        **SPAN,
    }
)
LISTENERS: Final = pl.Schema(
    {
        "addr_hi": pl.UInt64(),  # a node's address
        "addr_lo": pl.UInt64(),
        "port": pl.UInt16(),
        "protocol": pl.UInt8(),
        "endpoint_id": pl.UInt32(),  # the pod: hostNetwork with a containerPort, or any pod with a hostPort
        **SPAN,
    }
)


class Backend(NamedTuple):
    """One address and port that answers for a Service port."""

    address: Address
    port: int
    is_ready: bool


def backends_frame(roster: Roster, resources: Iterable[Resource]) -> pl.DataFrame:
    """One row an address, port, protocol and Service port, by `BACKENDS`."""
    slices: dict[tuple[str, str], list[EndpointSlice]] = defaultdict(list)
    for item in resources:
        if isinstance(item, EndpointSlice) and item.service:
            slices[namespace_of(item), item.service].append(item)
    rows = []
    service_id = 0
    for service in roster.services:
        own = slices.get((namespace_of(service), service.metadata.name), [])
        for port in service.spec.ports or []:
            rows += [
                (*backend.address, backend.port, PROTOCOLS[port.protocol], service_id, backend.is_ready, *ALWAYS)
                for backend in dict.fromkeys(sliced(own, port))
            ]
            service_id += 1
    return pl.DataFrame(rows, schema=BACKENDS, orient="row")


def listeners_frame(roster: Roster) -> pl.DataFrame:
    """One row a node address, port, protocol and pod that answers there, by `LISTENERS`."""
    nodes = {node.metadata.name: node for node in roster.nodes}
    rows = [
        (*address, port, protocol, number, *ALWAYS)
        for number, pod in enumerate(roster.pods, start=roster.first_pod)
        for address, port, protocol in listening(pod, nodes.get(pod.spec.node_name or ""))
    ]
    return pl.DataFrame(rows, schema=LISTENERS, orient="row")


def listening(pod: Pod, node: Node | None) -> list[tuple[Address, int, int]]:
    """Node address, port and protocol number that a pod answers on; `node` is the one that it is on, where known."""
    ports = [] if pod.status.phase in TERMINAL_PHASES else host_ports(pod)
    if not ports:
        return []
    own = [pod.status.host_ip.address] if pod.status.host_ip else []
    addresses = dict.fromkeys([*own, *reported(node)]) if node else own
    return [(address, *port) for address in addresses for port in ports]


def host_ports(pod: Pod) -> list[tuple[int, int]]:
    """Port and protocol number that a pod answers on at its node's addresses."""
    numbers = (
        (port.container_port if pod.spec.host_network else port.host_port, PROTOCOLS[port.protocol])
        for port in pod.spec.ports
    )
    return list(dict.fromkeys((number, protocol) for number, protocol in numbers if number))


def sliced(slices: Iterable[EndpointSlice], port: ServicePort) -> Iterator[Backend]:
    """Who answers for a Service port by the slices of its Service."""
    for part in slices:
        numbers = [
            entry.port
            for entry in part.ports or []
            if entry.port and (entry.name or "") == (port.name or "") and entry.protocol == port.protocol
        ]
        for endpoint in part.endpoints or []:
            for address in part.places(endpoint):
                yield from (Backend(address, number, _is_ready(endpoint)) for number in numbers)


def _is_ready(endpoint: SliceEndpoint) -> bool:
    conditions = endpoint.conditions
    return conditions is None or conditions.ready is not False
