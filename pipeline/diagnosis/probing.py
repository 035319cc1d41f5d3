"""Workloads that try many addresses or ports in vain: a scan, or a configuration that points to what is gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import polars as pl

from .answers import FAILED
from .evidence import Evidence, Name, full
from .finding import Finding

CHECK: Final = "probing"
_DESTINATIONS: Final = "flowatlas_workload_failed_destinations"
NAMES: Final = (_DESTINATIONS,)
MANY: Final = 100
"""More addresses and ports than this within ten minutes are told."""
_SHOWN: Final = 3


def probing(evidence: Evidence) -> Iterator[Finding]:
    """Workloads that failed at many addresses and ports, and where the history has it, at whose."""
    for who, count in evidence.scrape.by(_DESTINATIONS, "source_namespace", "source_workload").items():
        name = who[0], who[1]
        if count <= MANY or not evidence.is_asked(name):
            continue
        seen = f"{count:g} addresses and ports refused or did not answer within the last 10 minutes"
        yield Finding(
            CHECK,
            "warning",
            f"workload {full(name)}",
            "it tries many addresses or ports in vain",
            (seen, *_where(evidence, name)),
            f"flowatlas top --from-workload {full(name)} --by pods --sort failed",
        )


def _where(evidence: Evidence, name: Name) -> Iterator[str]:
    """Destinations of the workload's failures by how many addresses and ports, the most first; none unless known."""
    ends = ("destination_namespace", "destination_workload")
    rows = (
        evidence.flows.filter(
            pl.col("role") == "canonical",
            pl.col("source_namespace") == name[0],
            pl.col("source_workload") == name[1],
            pl.col("outcome").cast(pl.String).is_in(FAILED),
        )
        .group_by(*ends)
        .agg(tried=pl.struct("backend_ip", "backend_port", "protocol").n_unique())
        .sort("tried", *ends, descending=[True, False, False])
        .head(_SHOWN)
        .collect()
    )
    for namespace, workload, tried in rows.iter_rows():
        yield f"{tried} of them of {full((namespace, workload))}"
