"""Who talks to whom, and what is seen and not counted there."""

from __future__ import annotations

from typing import Final

from .labels import NAMESPACES, PAIR, SERVICE
from .metric import Metric

METRICS: Final = (
    Metric(
        "flowatlas_flow_bytes_total",
        "counter",
        "bytes",
        (*PAIR, *SERVICE, "protocol", "flow_direction"),
        "Bytes between two workloads through a Service, IP headers included; each connection is counted once.",
        "careful",
    ),
    Metric(
        "flowatlas_flow_packets_total",
        "counter",
        "",
        (*PAIR, *SERVICE, "protocol", "flow_direction"),
        "Packets between two workloads through a Service; each connection is counted once.",
        "careful",
    ),
    Metric(
        "flowatlas_connections_total",
        "counter",
        "",
        (*PAIR, *SERVICE, "protocol"),
        "Connections opened between two workloads through a Service; attempts that failed are among them.",
        "careful",
    ),
    Metric(
        "flowatlas_connection_failures_total",
        "counter",
        "",
        (*PAIR, *SERVICE, "protocol", "reason"),
        "Connections that failed, by reason: refused (a reset answered the first packet), reset (after another "
        "answer, by either end), no_reply (nothing answered).",
        "careful",
    ),
    Metric(
        "flowatlas_namespace_bytes_total",
        "counter",
        "bytes",
        (*NAMESPACES, "flow_direction"),
        "Bytes between two namespaces, IP headers included: what flowatlas_flow_bytes_total tells by workload, in so "
        "few series that sums over the whole cluster take milliseconds.",
    ),
    Metric(
        "flowatlas_namespace_connections_total",
        "counter",
        "",
        NAMESPACES,
        "Connections opened between two namespaces; attempts that failed are among them.",
    ),
    Metric(
        "flowatlas_namespace_connection_failures_total",
        "counter",
        "",
        (*NAMESPACES, "reason"),
        "Connections between two namespaces that failed, by reason: refused, reset, no_reply.",
    ),
    Metric(
        "flowatlas_workload_failed_destinations",
        "gauge",
        "",
        ("source_namespace", "source_workload", "source_workload_kind"),
        "Addresses and ports that the workload dialled in the last 10 minutes and that refused or did not answer, each "
        "once. There from 10 on; 10,000 stands for as many or more.",
        "careful",
    ),
    Metric(
        "flowatlas_observer_bytes_total",
        "counter",
        "bytes",
        ("node",),
        "Bytes of connections that this node saw too, while another node's record is the one that counts.",
    ),
    Metric(
        "flowatlas_overlay_bytes_total",
        "counter",
        "bytes",
        ("node", "protocol"),
        "Bytes of tunnel packets between nodes; the connections inside are counted by themselves.",
    ),
    Metric(
        "flowatlas_unattributed_bytes_total",
        "counter",
        "bytes",
        ("reason",),
        "Bytes that the cluster's state does not explain, or not in one way, by reason: unknown_source, "
        "unknown_destination (an address of the cluster's own that nothing held), ambiguous_service, "
        "ambiguous_address, ambiguous_host_port (several answers are equally good).",
    ),
    Metric(
        "flowatlas_unattributed_bytes_ratio",
        "gauge",
        "ratio",
        (),
        "Share of all bytes counted since the pipeline started that are in flowatlas_unattributed_bytes_total.",
    ),
)
