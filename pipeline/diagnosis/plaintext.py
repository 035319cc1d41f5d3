"""Connections in plain to pods of a mesh that say they take mutual TLS alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .evidence import Evidence, counted, full
from .finding import Finding

CHECK: Final = "plaintext"
_PLAINTEXT: Final = "flowatlas_mesh_plaintext_connections_total"
NAMES: Final = (_PLAINTEXT,)


def plaintext(evidence: Evidence) -> Iterator[Finding]:
    """Workload pairs of which one is outside the mesh and the other takes mutual TLS alone."""
    pair = ("source_namespace", "source_workload", "destination_namespace", "destination_workload")
    for (from_ns, from_name, to_ns, to_name), count in evidence.scrape.by(_PLAINTEXT, *pair).items():
        source, destination = (from_ns, from_name), (to_ns, to_name)
        if not count or not evidence.is_asked(source, destination):
            continue
        yield Finding(
            CHECK,
            "warning",
            f"{full(source)} to {full(destination)}",
            "connections in plain to pods that take mutual TLS alone",
            (f"{counted(count, 'connection')} since the pipeline started",),
            f"kubectl get peerauthentication -n {to_ns} -o yaml; kubectl get pods -n {from_ns} -L istio.io/rev",
        )
