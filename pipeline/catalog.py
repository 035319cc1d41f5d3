"""The metric contract: every metric that Flowatlas exposes, as data.

What computes a metric, the dashboards that query it and the reference page that documents it all read this module; a
name or label that is not here does not exist. The invariant: sums over any label set of a counter are true sums, so
every connection is in each metric family exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge"]
Cardinality = Literal["fine", "careful", "costly"]
Exposer = Literal["pipeline", "collector"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family. `unit` is the base unit that its name ends in (`bytes`, `seconds`), "" for plain counts."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    help: str
    cardinality: Cardinality = "fine"
    exposer: Exposer = "pipeline"


PAIR: Final = (
    "source_namespace",
    "source_workload",
    "source_workload_kind",
    "destination_namespace",
    "destination_workload",
    "destination_workload_kind",
)
SERVICE: Final = ("service_namespace", "service", "service_port")
INTERFACE: Final = ("namespace", "pod", "interface", "node")

LABEL_HELP: Final = {
    "source_namespace": "Namespace of the workload that opened the connection; empty where it has none.",
    "source_workload": "Top owner of the pod that opened the connection, the node's name, or `outside`.",
    "source_workload_kind": "Deployment, StatefulSet, DaemonSet, Job, Pod, ...; Node; External.",
    "destination_namespace": "Namespace of the workload that answered; empty where it has none.",
    "destination_workload": "Top owner of the pod that answered, the node's name, or `outside`.",
    "destination_workload_kind": "As source_workload_kind.",
    "service_namespace": "Namespace of the Service that was dialled; empty where none was.",
    "service": "Name of the Service that was dialled; empty where none was.",
    "service_port": "Name of the Service's port, or its number where it has no name.",
    "service_type": "ClusterIP, NodePort or LoadBalancer, as the Service declares.",
    "via": "The kind of address dialled: cluster_ip, node_port, load_balancer_ip, external_ip.",
    "protocol": "TCP, UDP, SCTP, ICMP, ICMPv6, or the IANA number.",
    "flow_direction": "`request` from the side that opened the connection, `reply` to it.",
    "reason": "Why; the values are listed with the metric.",
    "endpoint": "Name of the pod that the connection was sent to; empty where it was none.",
    "namespace": "Namespace of the pod.",
    "pod": "Name of the pod.",
    "interface": "Name of the interface inside its network namespace.",
    "node": "Name of the node.",
    "table": "flows or counters.",
    "stage": "decode, attribute, aggregate or output.",
    "kind": "Kind of the Kubernetes object.",
    "version": "Version of Flowatlas.",
}

_INTERFACE_METRICS: Final = tuple(
    Metric(
        f"container_network_{direction}_{what}_total",
        "counter",
        "bytes" if what == "bytes" else "",
        INTERFACE,
        f"{text} {'received' if direction == 'receive' else 'transmitted'} by the pod's interface, as the pod sees it.",
        "careful",
    )
    for direction in ("receive", "transmit")
    for what, text in (
        ("bytes", "Bytes"),
        ("packets", "Packets"),
        ("errors", "Errors while packets were"),
        ("packets_dropped", "Packets dropped while being"),
    )
)

METRICS: Final[tuple[Metric, ...]] = (
    # who talks to whom
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
        "Connections that failed, by reason: refused (a reset answered the first packet), reset (after it was "
        "established), no_reply (nothing answered).",
        "careful",
    ),
    # Services
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
    # what is seen and not counted above
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
        "Bytes with an end that the cluster's state does not explain, by reason: unknown_source, unknown_destination "
        "(an address of the cluster's own ranges that no object holds).",
    ),
    *_INTERFACE_METRICS,
    # the pipeline itself
    Metric("flowatlas_build_info", "gauge", "", ("version",), "Always 1; the label tells the version."),
    Metric("flowatlas_pipeline_batches_total", "counter", "", ("table", "node"), "Batches applied."),
    Metric(
        "flowatlas_pipeline_rows_total",
        "counter",
        "",
        ("table", "node"),
        "Rows applied. Interface rows of nodes, and of pods that the state does not know, are counted here alone.",
    ),
    Metric(
        "flowatlas_pipeline_quarantined_batches_total",
        "counter",
        "",
        ("reason",),
        "Batches set aside unread, by reason: headers, table, schema_version, truncated, magic, checksum, oversized, "
        "inflate, ipc, schema, rows, bytes, values, segment, node.",
    ),
    Metric(
        "flowatlas_pipeline_duplicate_batches_total",
        "counter",
        "",
        ("node",),
        "Batches that arrived again and were not applied again.",
    ),
    Metric(
        "flowatlas_pipeline_missing_batches_total",
        "counter",
        "",
        ("node",),
        "Batches that a node numbered and that were not there when later ones were; one that comes late stays counted.",
    ),
    Metric(
        "flowatlas_pipeline_stage_seconds_total",
        "counter",
        "seconds",
        ("stage",),
        "Processing time, by stage.",
    ),
    Metric(
        "flowatlas_pipeline_last_observation_timestamp_seconds",
        "gauge",
        "seconds",
        ("node",),
        "Time of the newest observation applied, by node.",
    ),
    Metric("flowatlas_pipeline_series", "gauge", "", (), "Series of flow and counter metrics exposed."),
    Metric("flowatlas_state_objects", "gauge", "", ("kind",), "Kubernetes objects known, by kind."),
    Metric(
        "flowatlas_state_refused_objects",
        "gauge",
        "",
        ("kind",),
        "Kubernetes objects that could not be understood, by kind; the log names the file, document and field.",
    ),
    # the collector itself
    Metric(
        "flowatlas_collector_batches_total", "counter", "", ("table",), "Batches sent to the bus.", exposer="collector"
    ),
    Metric("flowatlas_collector_rows_total", "counter", "", ("table",), "Rows sent to the bus.", exposer="collector"),
    Metric(
        "flowatlas_collector_lost_rows_total",
        "counter",
        "",
        ("table", "reason"),
        "Rows that did not reach the bus, by reason: bus_full, bus_error, retention.",
        exposer="collector",
    ),
    Metric(
        "flowatlas_collector_lost_bytes_total",
        "counter",
        "bytes",
        ("table", "reason"),
        "Flow bytes of the rows that did not reach the bus, by reason.",
        exposer="collector",
    ),
    Metric(
        "flowatlas_collector_netlink_overruns_total",
        "counter",
        "",
        (),
        "Times that the kernel dropped conntrack events because they were not read in time.",
        exposer="collector",
    ),
    Metric(
        "flowatlas_collector_malformed_messages_total",
        "counter",
        "",
        ("reason",),
        "Kernel messages that could not be decoded, by reason: truncated, attribute, family.",
        exposer="collector",
    ),
    Metric(
        "flowatlas_collector_tracked_flows",
        "gauge",
        "",
        (),
        "Connections in the node's conntrack table at the last dump.",
        exposer="collector",
    ),
    Metric(
        "flowatlas_collector_cycle_seconds_total",
        "counter",
        "seconds",
        (),
        "Time spent reading the kernel, building rows and encoding batches.",
        exposer="collector",
    ),
)

BY_NAME: Final = {metric.name: metric for metric in METRICS}
