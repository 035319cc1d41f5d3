"""How Services spread their connections: a few endpoints that get most, and clients that session affinity loses.

Both are the pipeline's own measures, with the bounds of the alerts on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .evidence import Evidence, Name, counted, full
from .finding import Finding

CHECK: Final = "spreading"
AFFINITY: Final = "affinity"
_GINI: Final = "flowatlas_service_endpoint_gini_ratio"
_SENT: Final = "flowatlas_service_endpoint_connections_total"
_AFFINITY: Final = "flowatlas_service_affinity_connections_total"
NAMES: Final = (_GINI, _SENT, _AFFINITY)

UNEVEN: Final = 0.4
"""The Gini coefficient from which connections are uneven; all on one endpoint of two is 0.5."""
EACH: Final = 40
"""So many connections to an endpoint, in the mean, are enough to tell that from chance."""

_SERVICE: Final = ("service_namespace", "service", "service_port")
_SHOWN: Final = 4


def uneven(evidence: Evidence) -> Iterator[Finding]:
    """Service ports of which a few endpoints have had most connections of the last minutes."""
    sent: dict[tuple[str, ...], dict[str, float]] = {}
    for labels, count in evidence.scrape.by(_SENT, *_SERVICE, "endpoint").items():
        if labels[-1] and count:
            sent.setdefault(labels[:-1], {})[labels[-1]] = count
    for ports, gini in evidence.scrape.by(_GINI, *_SERVICE).items():
        ends = sent.get(ports, {})
        namespace, service, port = ports
        if gini <= UNEVEN or sum(ends.values()) <= EACH * len(ends) or not _is_asked(evidence, (namespace, service)):
            continue
        most = sorted(ends.items(), key=lambda end: -end[1])[:_SHOWN]
        yield Finding(
            CHECK,
            "warning",
            f"Service {full((namespace, service))} port {port}",
            f"a few of its endpoints get most of its connections: the Gini coefficient is {gini:.2f}",
            (
                *(f"{endpoint}: {counted(count, 'connection')} since the pipeline started" for endpoint, count in most),
                *_sticky(evidence, (namespace, service)),
            ),
            f"kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={service} -o yaml",
        )


def broken_affinity(evidence: Evidence) -> Iterator[Finding]:
    """Service ports whose clients came to another endpoint although their first was ready."""
    told = evidence.scrape.by(_AFFINITY, *_SERVICE)
    for ports, count in evidence.scrape.by(_AFFINITY, *_SERVICE, affinity="broken").items():
        namespace, service, port = ports
        if not count or not _is_asked(evidence, (namespace, service)):
            continue
        yield Finding(
            AFFINITY,
            "warning",
            f"Service {full((namespace, service))} port {port}",
            "clients come to another endpoint although theirs is ready, against sessionAffinity ClientIP",
            (f"{count:g} of {counted(told[ports], 'connection')} of returning clients since the pipeline started",),
            "kubectl -n kube-system get pods -o wide -l k8s-app=kube-proxy",
        )


def _sticky(evidence: Evidence, name: Name) -> list[str]:
    service = evidence.cluster.services.get(name)
    if service is None or service.spec.session_affinity != "ClientIP":
        return []
    return ["it has sessionAffinity ClientIP: few clients come to few endpoints"]


def _is_asked(evidence: Evidence, name: Name) -> bool:
    return evidence.asked_pods is None or any(name == asked for asked, _ in evidence.services())
