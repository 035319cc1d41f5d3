"""Service ports and the addresses and ports under which they are dialled.

A Service port's id is its row number in `services`. Where two Service ports claim one address, port and protocol, or
one node port, the facts leave two answers and neither is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import polars as pl

from .claims import cluster_ips, external_ips, load_balancer_ips
from .endpoints import Roster
from .models import Service, ServicePort, namespace_of
from .spans import ALWAYS, SPAN

PROTOCOLS: Final[Mapping[str, int]] = {"TCP": 6, "UDP": 17, "SCTP": 132}
"""IANA numbers of the protocols that a Service can have."""

VIAS: Final[pl.Enum] = pl.Enum(["cluster_ip", "load_balancer_ip", "external_ip", "node_port", "backend"])

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
        **SPAN,  # an address, port and protocol mean one Service port at a time
    }
)
NODE_PORTS: Final = pl.Schema({"port": pl.UInt16(), "protocol": pl.UInt8(), "service_id": pl.UInt32(), **SPAN})


def services_frame(roster: Roster) -> pl.DataFrame:
    """One row a Service port, by `SERVICES`."""
    rows = [
        (
            service_id,
            endpoint_id,
            namespace_of(service),
            service.metadata.name,
            service.spec.type,
            port.name or str(port.port),
            port.name or "",
            port.port,
            PROTOCOLS[port.protocol],
            str(port.port if port.target_port is None else port.target_port),
        )
        for service_id, endpoint_id, service, port in _ports(roster)
    ]
    return pl.DataFrame(rows, schema=SERVICES, orient="row")


def dialled_frame(roster: Roster) -> pl.DataFrame:
    """One row an address, port and protocol that means one Service port, by `DIALLED`."""
    rows = [
        (*address, port.port, PROTOCOLS[port.protocol], service_id, via, *ALWAYS)
        for service_id, _, service, port in _ports(roster)
        for via, addresses in (
            ("cluster_ip", cluster_ips(service)),
            ("load_balancer_ip", load_balancer_ips(service)),
            ("external_ip", external_ips(service)),
        )
        for address in addresses
    ]
    key = ("addr_hi", "addr_lo", "port", "protocol")
    frame = pl.DataFrame(rows, schema=DIALLED, orient="row").unique([*key, "service_id"], maintain_order=True)
    return frame.unique(key, keep="none", maintain_order=True)


def node_ports_frame(roster: Roster) -> pl.DataFrame:
    """One row a port and protocol that means one Service port on every address of every node, by `NODE_PORTS`."""
    rows = [
        (port.node_port, PROTOCOLS[port.protocol], service_id, *ALWAYS)
        for service_id, _, _, port in _ports(roster)
        if port.node_port
    ]
    return pl.DataFrame(rows, schema=NODE_PORTS, orient="row").unique(
        ["port", "protocol"], keep="none", maintain_order=True
    )


def _ports(roster: Roster) -> Iterator[tuple[int, int, Service, ServicePort]]:
    service_id = 0
    for endpoint_id, service in enumerate(roster.services, start=roster.first_service):
        for port in service.spec.ports or []:
            yield service_id, endpoint_id, service, port
            service_id += 1
