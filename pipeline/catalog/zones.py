"""How far traffic goes, and what that costs."""

from __future__ import annotations

from typing import Final

from .metric import Metric

METRICS: Final = (
    Metric(
        "flowatlas_zone_bytes_total",
        "counter",
        "bytes",
        ("source_zone", "destination_zone", "locality", "flow_direction"),
        "Bytes between zones, by how far they went; each connection is counted once.",
    ),
    Metric(
        "flowatlas_traffic_cost_total",
        "counter",
        "",
        ("namespace", "service_namespace", "service", "locality", "direction", "currency"),
        "Cost of traffic by the price table that was given, charged to the namespace of the end that sent (egress) or "
        "received (ingress) the bytes; nodes have the empty namespace. Not there without prices.",
        "careful",
    ),
)
