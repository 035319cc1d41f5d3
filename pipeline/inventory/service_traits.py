"""What Services declare beyond addresses and ports, over time: session affinity, being headless, DNS names.

The invariant: a Service port is in `PORTS` for as long as it is declared, so that what nobody calls has a row too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import polars as pl

from .models import Resource, Service, namespace_of
from .services import PROTOCOLS
from .tracked import Row, TrackedFrame

AFFINITY_SECONDS: Final = 10_800
"""The API's own default of `timeoutSeconds`."""

PORTS: Final = pl.Schema(
    {
        "service_namespace": pl.String(),
        "service": pl.String(),
        "service_port": pl.String(),  # as `services.SERVICES` has it
        "is_headless": pl.Boolean(),
        "affinity_s": pl.Int64(),  # how long a client stays with its endpoint; 0 without session affinity
    }
)
ALIASES: Final = pl.Schema(
    {
        "service_namespace": pl.String(),
        "service": pl.String(),
        "service_type": pl.String(),
        "service_port": pl.String(),  # as `services.SERVICES` has it
        "port": pl.UInt16(),
        "protocol": pl.UInt8(),
        "name": pl.String(),  # lower case, without the final dot
    }
)


def port_rows(objects: Sequence[Resource]) -> Iterator[Row]:
    """One row a Service port, by `PORTS`."""
    for service in objects:
        if isinstance(service, Service) and service.spec.type != "ExternalName":
            for port in service.spec.ports or []:
                yield (
                    namespace_of(service),
                    service.metadata.name,
                    port.name or str(port.port),
                    service.is_headless,
                    affinity_s(service),
                )


def alias_rows(objects: Sequence[Resource]) -> Iterator[Row]:
    """One row a Service port and DNS name that leads beyond the cluster, by `ALIASES`."""
    for service in objects:
        if isinstance(service, Service):
            for name in _names(service):
                for port in service.spec.ports or []:
                    yield (
                        namespace_of(service),
                        service.metadata.name,
                        service.spec.type,
                        port.name or str(port.port),
                        port.port,
                        PROTOCOLS[port.protocol],
                        name.lower().rstrip("."),
                    )


def _names(service: Service) -> list[str]:
    """What an ExternalName Service stands for, or the names of a load balancer where it says no address for them."""
    if service.spec.type == "ExternalName":
        return [service.spec.external_name] if service.spec.external_name else []
    if service.spec.type != "LoadBalancer" or service.status.load_balancer is None:
        return []
    places = service.status.load_balancer.ingress or []
    return [place.hostname for place in places if place.hostname and place.ip is None]


def affinity_s(service: Service) -> int:
    """How long a client stays with its endpoint after its last connection; 0 without session affinity."""
    if service.spec.session_affinity != "ClientIP":
        return 0
    config = service.spec.session_affinity_config
    told = config.client_ip.timeout_seconds if config and config.client_ip else None
    return AFFINITY_SECONDS if told is None else told


PORTS_FRAME: Final = TrackedFrame("service_ports", PORTS, (Service,), port_rows)
ALIASES_FRAME: Final = TrackedFrame("service_aliases", ALIASES, (Service,), alias_rows)
