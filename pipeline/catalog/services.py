"""What dials Services, and their signals."""

from __future__ import annotations

from typing import Final

from .labels import SERVICE
from .metric import Metric

METRICS: Final = (
    Metric(
        "flowatlas_service_bytes_total",
        "counter",
        "bytes",
        (*SERVICE, "service_type", "protocol", "flow_direction"),
        "Bytes of connections that dialled the Service.",
    ),
    Metric(
        "flowatlas_service_connections_total",
        "counter",
        "",
        (*SERVICE, "service_type", "protocol", "via"),
        "Connections that dialled the Service, by the kind of address dialled.",
    ),
    Metric(
        "flowatlas_service_connection_failures_total",
        "counter",
        "",
        (*SERVICE, "service_type", "protocol", "reason"),
        "Connections that dialled the Service and failed, by reason: refused, reset, no_reply.",
    ),
    Metric(
        "flowatlas_service_endpoint_connections_total",
        "counter",
        "",
        (*SERVICE, "endpoint", "node"),
        "Connections that dialled the Service, by the pod that they were sent to (empty where it is none) and its "
        "node.",
        "careful",
    ),
    Metric(
        "flowatlas_service_no_endpoint_connections_total",
        "counter",
        "",
        SERVICE,
        "Connections that dialled the Service while it had no ready endpoint.",
    ),
    Metric(
        "flowatlas_service_affinity_connections_total",
        "counter",
        "",
        (*SERVICE, "affinity"),
        "Connections to a Service with sessionAffinity ClientIP whose client had connected within timeoutSeconds "
        "before, by where they went; told when the connections around them are known, some 30 s later.",
    ),
    Metric(
        "flowatlas_service_bypass_connections_total",
        "counter",
        "",
        ("source_namespace", "source_workload", "source_workload_kind", *SERVICE),
        "Connections of a pod straight to an endpoint of a Service that has an address of its own; service and "
        "service_port are empty where the endpoint is several Services'.",
        "careful",
    ),
    Metric(
        "flowatlas_service_endpoint_skew_ratio",
        "gauge",
        "",
        SERVICE,
        "Connections of the busiest endpoint over the mean of all endpoints that were ready for the last 5 minutes; 1 "
        "is even. There from 10 connections to 2 endpoints on.",
    ),
    Metric(
        "flowatlas_service_endpoint_gini_ratio",
        "gauge",
        "",
        SERVICE,
        "Gini coefficient of connections over the endpoints that were ready for the last 5 minutes: 0 is even, near 1 "
        "is all on one.",
    ),
    Metric(
        "flowatlas_service_last_connection_timestamp_seconds",
        "gauge",
        "seconds",
        SERVICE,
        "When a connection to the Service port last began; 0 where there was none since the pipeline started.",
    ),
)
