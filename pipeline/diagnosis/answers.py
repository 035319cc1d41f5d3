"""Endpoints of Services that refuse or do not answer, although they are ready.

What policies deny is no fault of an endpoint, so denied connections are left out; what a node did not translate never
came to one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import polars as pl

from .evidence import VIRTUAL, Evidence, counted, full
from .finding import Finding

CHECK: Final = "answers"
FAILED: Final = ("refused", "no_reply")
FAILURES: Final = 3
SHARE: Final = 0.5
"""So many failures, and such a part of the connections that came there, are told."""

_END: Final = ("service_namespace", "service", "service_port", "backend_ip", "backend_port")


def unanswering(evidence: Evidence) -> Iterator[Finding]:
    """Endpoints that half of the connections, or more, came to in vain."""
    is_failed = pl.col("outcome").cast(pl.String).is_in(FAILED)
    connections = (
        evidence.flows.filter(
            pl.col("role") == "canonical",
            pl.col("via").is_in(VIRTUAL),
            pl.col("service_port") != "",
            pl.col("backend_ip") != pl.col("dst_ip"),
            pl.col("destination_kind") == "Pod",
            pl.col("verdict").cast(pl.String) != "denied",
            pl.col("protocol") == 6,
        )
        .group_by("node", "flow_id", *_END, "destination_namespace", "destination_name", maintain_order=True)
        .agg(outcome=pl.col("outcome").cast(pl.String).filter(is_failed).last(), last=pl.col("time").max())
    )
    rows = (
        connections.group_by(*_END, "destination_namespace", "destination_name")
        .agg(
            tried=pl.len(),
            failed=pl.col("outcome").is_not_null().sum(),
            refused=(pl.col("outcome") == "refused").sum(),
            last=pl.col("last").filter(pl.col("outcome").is_not_null()).max(),
        )
        .filter(pl.col("failed") >= FAILURES, pl.col("failed") >= SHARE * pl.col("tried"))
        .sort(*_END)
        .collect()
    )
    asked = {name for name, _ in evidence.services()}
    for row in rows.iter_rows(named=True):
        name, port = (row["service_namespace"], row["service"]), row["service_port"]
        if name not in asked or not evidence.cluster.ready.get((*name, port)):
            continue
        pod = row["destination_namespace"], row["destination_name"]
        unheard = row["failed"] - row["refused"]
        yield Finding(
            CHECK,
            "error",
            f"Service {full(name)} port {port}, endpoint {full(pod)}",
            "it is ready and refuses connections" if row["refused"] else "it is ready and does not answer",
            (
                f"{row['refused']} refused and {unheard} not answered of {counted(row['tried'], 'connection')} to "
                f"{row['backend_ip']} port {row['backend_port']}, the last at {row['last']:%Y-%m-%d %H:%M:%S} UTC",
            ),
            f"kubectl -n {pod[0]} logs {pod[1]} --tail=50",
        )
