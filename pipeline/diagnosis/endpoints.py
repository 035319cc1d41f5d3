"""Services that nobody can answer for: without a ready endpoint, and why, and who dials them all the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import polars as pl

from ..inventory.models import Pod, Service, namespace_of
from ..inventory.slice_models import EndpointSlice
from .evidence import Evidence, Name, counted, full, has_labels, written
from .finding import Finding

CHECK: Final = "endpoints"
_NO_ENDPOINT: Final = "flowatlas_service_no_endpoint_connections_total"
NAMES: Final = (_NO_ENDPOINT,)
_SHOWN: Final = 3


def without_endpoints(evidence: Evidence) -> Iterator[Finding]:
    """Service ports without a ready endpoint: an error where somebody dials them, else a warning."""
    cluster = evidence.cluster
    sliced: dict[Name, list[EndpointSlice]] = {}
    for item in cluster.each(EndpointSlice):
        sliced.setdefault((namespace_of(item), item.service), []).append(item)
    for name, service in evidence.services():
        own = sliced.get(name, [])
        is_told = bool(own) or (bool(service.spec.selector) and bool(cluster.pods))
        is_named = service.spec.type == "ExternalName" or any(part.address_type == "FQDN" for part in own)
        if not is_told or is_named:
            continue
        for port in service.spec.ports or []:
            written_port = port.name or str(port.port)
            if cluster.ready.get((*name, written_port), 0):
                continue
            dialled = list(_dialled(evidence, name, written_port))
            yield Finding(
                CHECK,
                "error" if dialled else "warning",
                f"Service {full(name)} port {written_port}",
                "clients dial it and no endpoint is ready" if dialled else "no endpoint is ready",
                (*_why(evidence, service, own), *dialled),
                _next(service),
            )


def _why(evidence: Evidence, service: Service, slices: list[EndpointSlice]) -> Iterator[str]:
    selector = service.spec.selector
    endpoints = [endpoint for part in slices for endpoint in part.endpoints or []]
    if not selector:
        yield f"it has no selector; its {len(slices)} EndpointSlices list {len(endpoints)} endpoints, none ready"
        return
    here = evidence.cluster.pods.get(namespace_of(service), [])
    selected = evidence.cluster.selected(service)
    if not selected:
        yield f"selector {written(selector)} matches no pod of the namespace"
        yield from _nearly(selector, here)
        return
    yield f"selector {written(selector)} matches {counted(len(selected), 'pod')}: {_names(selected)}"
    if endpoints:
        yield f"its EndpointSlices list {len(endpoints)} endpoints, none ready for this port"


def _nearly(selector: dict[str, str], pods: list[Pod]) -> Iterator[str]:
    """For each part of the selector that nothing of the namespace has: what pods have that meet the rest."""
    for key, value in selector.items():
        rest = {other: wanted for other, wanted in selector.items() if other != key}
        near = [pod for pod in pods if has_labels(pod, rest) and key in (pod.metadata.labels or {})]
        has = sorted({(pod.metadata.labels or {})[key] for pod in near} - {value})
        if near and rest:
            yield f"{key} is {', '.join(has[:_SHOWN])} on pods that match otherwise: {_names(near)}"


def _names(pods: list[Pod]) -> str:
    shown = ", ".join(pod.metadata.name for pod in pods[:_SHOWN])
    return shown + (f" and {len(pods) - _SHOWN} more" if len(pods) > _SHOWN else "")


def _dialled(evidence: Evidence, name: Name, port: str) -> Iterator[str]:
    """Who dials the Service port in vain, by the history, and how often, by the metrics."""
    rows = (
        evidence.connections.filter(~pl.col("reached"), service_namespace=name[0], service=name[1], service_port=port)
        .group_by("source_namespace", "source_workload")
        .agg(pl.col("opened").sum(), pl.col("last").max())
        .filter(pl.col("opened") > 0)
        .sort("opened", "source_namespace", "source_workload", descending=[True, False, False])
    )
    for namespace, workload, opened, last in rows.head(_SHOWN).iter_rows():
        who = full((namespace, workload))
        yield f"{counted(opened, 'connection')} of {who}, the last at {last:%Y-%m-%d %H:%M:%S} UTC"
    labels = {"service_namespace": name[0], "service": name[1], "service_port": port}
    since_start = sum(value for _, value in evidence.scrape.of(_NO_ENDPOINT, **labels))
    if since_start:
        yield f"{counted(since_start, 'connection')} without a ready endpoint since the pipeline started"


def _next(service: Service) -> str:
    namespace, name = namespace_of(service), service.metadata.name
    if service.spec.selector:
        return f"kubectl -n {namespace} get pods -l {written(service.spec.selector)} -o wide"
    return f"kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={name}"
