"""Service ports and the addresses and ports under which they are dialled.

A Service port's id is its row number in `services`. Where several Service ports claim one address, port and protocol,
or one node port, all of them are here: `attribution` says `ambiguous`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import polars as pl

from .addresses import Address
from .claims import cluster_ips, external_ips, load_balancer_ips
from .endpoints import Roster
from .models import Service, ServicePort, namespace_of
from .spans import ALWAYS, SPAN

PROTOCOLS: Final[Mapping[str, int]] = {"TCP": 6, "UDP": 17, "SCTP": 132}
"""IANA numbers of the protocols that a Service can have."""

VIAS: Final[pl.Enum] = pl.Enum(
    ["cluster_ip", "load_balancer_ip", "external_ip", "node_port", "backend", "alias", "headless"]
)

SERVICES: Final = pl.Schema(
    {
        "service_id": pl.UInt32(),
        "endpoint_id": pl.UInt32(),  # the Service's own row among the endpoints
        "service_namespace": pl.String(),
        "service": pl.String(),
        "service_type": pl.String(),
        "service_port": pl.String(),  # the port's name, or its number where it has none
        "port_name": pl.String(),  # "" where it has none
        "port": pl.UInt16(),
        "protocol": pl.UInt8(),
        "target_port": pl.String(),  # as written: a number, or a name that each pod resolves; the port where absent
    }
)
DIALLED: Final = pl.Schema(
    {
        "addr_hi": pl.UInt64(),
        "addr_lo": pl.UInt64(),
        "port": pl.UInt16(),
        "protocol": pl.UInt8(),
        "service_id": pl.UInt32(),
        "via": VIAS,
        **SPAN,
    }
)
NODE_PORTS: Final = pl.Schema({"port": pl.UInt16(), "protocol": pl.UInt8(), "service_id": pl.UInt32(), **SPAN})


def services_frame(roster: Roster) -> pl.DataFrame:
    """One row a Service port, by `SERVICES`."""
    rows = [(number, endpoint, *port_row(service, port)) for number, endpoint, service, port in _ports(roster)]
    return pl.DataFrame(rows, schema=SERVICES, orient="row")


def port_row(service: Service, port: ServicePort) -> tuple[str, str, str, str, str, int, int, str]:
    """The columns of `SERVICES` behind the ids."""
    return (
        namespace_of(service),
        service.metadata.name,
        service.spec.type,
        port.name or str(port.port),
        port.name or "",
        port.port,
        PROTOCOLS[port.protocol],
        str(port.port if port.target_port is None else port.target_port),
    )


def dialled_frame(roster: Roster) -> pl.DataFrame:
    """One row an address, port, protocol and Service port that they mean, by `DIALLED`."""
    rows = [
        (*address, port.port, PROTOCOLS[port.protocol], service_id, via, *ALWAYS)
        for service_id, _, service, port in _ports(roster)
        for address, via in dials(service).items()
    ]
    return pl.DataFrame(rows, schema=DIALLED, orient="row")


def dials(service: Service) -> dict[Address, str]:
    """The addresses under which a Service is dialled, each with the first of `VIAS` that has it."""
    found = dict.fromkeys(cluster_ips(service), "cluster_ip")
    for via, addresses in (("load_balancer_ip", load_balancer_ips(service)), ("external_ip", external_ips(service))):
        for address in addresses:
            found.setdefault(address, via)
    return found


def node_ports_frame(roster: Roster) -> pl.DataFrame:
    """One row a port, protocol and Service port that they mean on every address of every node, by `NODE_PORTS`."""
    rows = [
        (port.node_port, PROTOCOLS[port.protocol], service_id, *ALWAYS)
        for service_id, _, _, port in _ports(roster)
        if port.node_port
    ]
    return pl.DataFrame(rows, schema=NODE_PORTS, orient="row")


def _ports(roster: Roster) -> Iterator[tuple[int, int, Service, ServicePort]]:
    service_id = 0
    for endpoint_id, service in enumerate(roster.services, start=roster.first_service):
        for port in service.spec.ports or []:
            yield service_id, endpoint_id, service, port
            service_id += 1
