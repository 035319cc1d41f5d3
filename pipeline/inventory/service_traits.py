"""What Services declare beyond addresses and ports, over time: session affinity, being headless, being an alias.

The invariant: a Service port is in `PORTS` for as long as it is declared, so that what nobody calls has a row too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import polars as pl

from .models import Resource, Service, namespace_of
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
        "external_name": pl.String(),  # lower case, without the final dot
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
    """One row a Service of type ExternalName, by `ALIASES`."""
    for service in objects:
        if isinstance(service, Service) and service.spec.type == "ExternalName" and service.spec.external_name:
            name = service.spec.external_name.lower().rstrip(".")
            yield namespace_of(service), service.metadata.name, name


def affinity_s(service: Service) -> int:
    """How long a client stays with its endpoint after its last connection; 0 without session affinity."""
    if service.spec.session_affinity != "ClientIP":
        return 0
    config = service.spec.session_affinity_config
    told = config.client_ip.timeout_seconds if config and config.client_ip else None
    return AFFINITY_SECONDS if told is None else told


PORTS_FRAME: Final = TrackedFrame("service_ports", PORTS, (Service,), port_rows)
ALIASES_FRAME: Final = TrackedFrame("service_aliases", ALIASES, (Service,), alias_rows)
