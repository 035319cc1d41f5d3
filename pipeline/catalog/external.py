"""What goes to and comes from beyond the cluster, by country and network."""

from __future__ import annotations

from typing import Final

from .metric import Metric

METRICS: Final = (
    Metric(
        "flowatlas_external_bytes_total",
        "counter",
        "bytes",
        ("namespace", "workload", "workload_kind", "direction", "country", "asn", "organisation"),
        "Bytes that a workload sent to (egress) or received from (ingress) a network beyond the cluster. The first "
        "1,000 networks have series of their own; all others of a country have `other` as their asn, so sums are true. "
        "Not there without MaxMind databases.",
        "costly",
    ),
)
