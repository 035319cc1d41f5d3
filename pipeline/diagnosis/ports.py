"""Target ports of Services that their pods do not have: names that no container declares, numbers that none does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import polars as pl

from ..inventory.models import Pod, Service, ServicePort, namespace_of
from ..inventory.selected import target_port
from .evidence import Evidence, Name, counted, full
from .finding import Finding

CHECK: Final = "ports"
_REFUSED: Final = ("refused", "reset")


def undeclared_ports(evidence: Evidence) -> Iterator[Finding]:
    """Named target ports that pods lack; numbers that no container declares are a note, or an error where refused."""
    for name, service in evidence.services():
        pods = evidence.cluster.selected(service)
        if not pods:
            continue
        for port in service.spec.ports or []:
            if isinstance(port.target_port, str) and not port.target_port.isdigit():
                yield from _named(name, service, port, pods)
            else:
                yield from _numbered(evidence, name, service, port, pods)


def _named(name: Name, service: Service, port: ServicePort, pods: list[Pod]) -> Iterator[Finding]:
    lacking = [pod for pod in pods if target_port(port, pod) is None]
    if not lacking:
        return
    is_all = len(lacking) == len(pods)
    yield Finding(
        CHECK,
        "error" if is_all else "warning",
        _subject(name, port),
        f"no container declares {port.protocol} port {port.target_port!r}, its targetPort"
        if is_all
        else f"{len(lacking)} of {len(pods)} pods declare no {port.protocol} port {port.target_port!r}",
        tuple(f"pod {pod.metadata.name} declares {_declared(pod)}" for pod in lacking[:3]),
        _next(service, lacking[0]),
    )


def _numbered(
    evidence: Evidence, name: Name, service: Service, port: ServicePort, pods: list[Pod]
) -> Iterator[Finding]:
    number = int(port.target_port or port.port)
    declaring = [pod for pod in pods if _ports(pod)]
    if not declaring or any((number, port.protocol) in _ports(pod) for pod in declaring):
        return
    refused = _refused(evidence, name, port)
    seen = (
        [f"{counted(refused, 'connection')} of the history {'was' if refused == 1 else 'were'} refused"]
        if refused
        else []
    )
    yield Finding(
        CHECK,
        "error" if refused else "note",
        _subject(name, port),
        f"no container declares port {number}, its targetPort, and connections are refused"
        if refused
        else f"no container declares port {number}, its targetPort; it may be open all the same",
        (*seen, *(f"pod {pod.metadata.name} declares {_declared(pod)}" for pod in declaring[:3])),
        _next(service, declaring[0]),
    )


def _refused(evidence: Evidence, name: Name, port: ServicePort) -> int:
    rows = evidence.flows.filter(
        pl.col("role") == "canonical",
        pl.col("service_namespace") == name[0],
        pl.col("service") == name[1],
        pl.col("service_port") == (port.name or str(port.port)),
        pl.col("outcome").is_in(_REFUSED),
    )
    return int(rows.select(pl.struct("node", "flow_id").n_unique()).collect().item())


def _ports(pod: Pod) -> set[tuple[int, str]]:
    return {(port.container_port, port.protocol) for port in pod.spec.ports}


def _declared(pod: Pod) -> str:
    ports = list(pod.spec.ports)
    texts = (f"{port.container_port}/{port.protocol}" + (f" ({port.name})" if port.name else "") for port in ports)
    return ", ".join(texts) or "no port"


def _subject(name: Name, port: ServicePort) -> str:
    return f"Service {full(name)} port {port.name or port.port}"


def _next(service: Service, pod: Pod) -> str:
    return f"kubectl -n {namespace_of(service)} get pod {pod.metadata.name} -o jsonpath='{{.spec.containers[*].ports}}'"
