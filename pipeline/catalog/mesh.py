"""What a service mesh is told to do, and does."""

from __future__ import annotations

from typing import Final

from .labels import PAIR, SERVICE, SUBSET
from .metric import Metric

METRICS: Final = (
    Metric(
        "flowatlas_mesh_subset_bytes_total",
        "counter",
        "bytes",
        (*SUBSET, "flow_direction"),
        "Bytes between clients of the mesh and the pods of a Service's subset, IP headers included.",
    ),
    Metric(
        "flowatlas_mesh_subset_connections_total",
        "counter",
        "",
        SUBSET,
        "Connections that clients of the mesh opened to the pods of a Service's subset.",
    ),
    Metric(
        "flowatlas_mesh_subset_configured_ratio",
        "gauge",
        "ratio",
        SUBSET,
        "Share of the Service that its VirtualService gives to the subset, where one rule alone shares it out.",
    ),
    Metric(
        "flowatlas_mesh_subset_observed_ratio",
        "gauge",
        "ratio",
        (*SUBSET, "bound"),
        "Share of connections that the subset got since the weights were last changed: the estimate, and the lower and "
        "upper bound of its 95 % confidence interval (Wilson).",
    ),
    Metric(
        "flowatlas_mesh_max_connections",
        "gauge",
        "",
        SUBSET,
        "Connections that one client may hold open, by the DestinationRule; the subset is empty for all of a Service.",
    ),
    Metric(
        "flowatlas_mesh_concurrent_connections",
        "gauge",
        "",
        SUBSET,
        "The most connections that any one client holds open now, where a DestinationRule bounds them.",
    ),
    Metric(
        "flowatlas_mesh_plaintext_connections_total",
        "counter",
        "",
        (*PAIR, *SERVICE),
        "Connections from pods outside the mesh to pods whose PeerAuthentication is STRICT on the port dialled.",
        "careful",
    ),
)
