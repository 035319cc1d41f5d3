"""What comes through Ingresses and Gateways."""

from __future__ import annotations

from typing import Final

from .labels import ROUTE, SERVICE
from .metric import Metric

METRICS: Final = (
    Metric(
        "flowatlas_ingress_bytes_total",
        "counter",
        "bytes",
        (*ROUTE, *SERVICE, "flow_direction"),
        "Bytes between an ingress proxy and the Service behind its route, IP headers included; of several rules that "
        "lead to one Service, labels tell what they agree on and `several` where they differ.",
        "careful",
    ),
    Metric(
        "flowatlas_ingress_connections_total",
        "counter",
        "",
        (*ROUTE, *SERVICE),
        "Connections that an ingress proxy opened to the Service behind its route.",
        "careful",
    ),
    Metric(
        "flowatlas_ingress_connection_failures_total",
        "counter",
        "",
        (*ROUTE, *SERVICE, "reason"),
        "Connections that an ingress proxy opened to the Service behind its route and that failed, by reason: refused, "
        "reset, no_reply.",
        "careful",
    ),
    Metric(
        "flowatlas_ingress_bypass_connections_total",
        "counter",
        "",
        (*SERVICE, "via"),
        "Connections from beyond the cluster that dialled a Service at an address of its own (node_port, "
        "load_balancer_ip, external_ip) although an Ingress or Gateway leads to it.",
    ),
)
