"""The metric contract: every metric that Flowatlas exposes, as data.

What computes a metric, the dashboards that query it and the reference page that documents it all read this module; a
name or label that is not here does not exist. The invariant: sums over any label set of a counter are true sums, so
every connection is in each metric family exactly once; those by policy alone have it once a responsible policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge"]
Cardinality = Literal["fine", "careful", "costly"]
Exposer = Literal["pipeline", "collector", "watcher"]


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
SUBSET: Final = ("service_namespace", "service", "subset")
ROUTE: Final = ("route_kind", "route_namespace", "route", "route_host", "route_path", "tls")
POLICY: Final = ("policy", "policy_namespace", "policy_kind", "rule", "verdict", "direction")
COVERED: Final = ("namespace", "workload", "workload_kind", "direction", "coverage")
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
    "service_type": "ClusterIP, NodePort, LoadBalancer or ExternalName, as the Service declares.",
    "via": "The kind of address dialled: cluster_ip, node_port, load_balancer_ip, external_ip; `alias`: a DNS name's; "
    "`backend`: not known.",
    "protocol": "TCP, UDP, SCTP, ICMP, ICMPv6, or the IANA number.",
    "flow_direction": "`request` from the side that opened the connection, `reply` to it.",
    "reason": "Why; the values are listed with the metric.",
    "affinity": "kept: to the same endpoint; broken: to another although the first was ready; moved: it was not.",
    "source_zone": "Zone of the node that opened the connection; empty where it has none, as beyond the cluster.",
    "destination_zone": "Zone of the node that answered.",
    "locality": "same_node, same_zone, cross_zone, same_region, cross_region, internet or unknown.",
    "direction": "egress or ingress, from the point of view of what the other labels name.",
    "currency": "The price table's currency, as ISO 4217 writes it.",
    "route_kind": "Ingress, Route, HTTPRoute, GRPCRoute, TLSRoute, TCPRoute or VirtualService.",
    "route_namespace": "Namespace of the route.",
    "route": "Name of the Ingress or route.",
    "route_host": "Host that the rule names; empty where it takes every host.",
    "route_path": "Path that the rule names; empty where it takes every path.",
    "tls": "true where the host is offered over TLS, else false.",
    "policy": "Name of the policy.",
    "policy_namespace": "Namespace of the policy; empty where it is cluster-wide.",
    "policy_kind": "NetworkPolicy, AdminNetworkPolicy, BaselineAdminNetworkPolicy or ClusterNetworkPolicy; others are "
    "not judged.",
    "rule": "Name of the rule, or its place among the rules counted from 1; empty where no rule decided: the policy "
    "isolates the pod.",
    "verdict": "What the direction came to: allowed, denied or not judged.",
    "coverage": "How policies cover it; the values are listed with the metric.",
    "mismatch": "established_denied or dropped_allowed.",
    "workload": "Top owner of the pod.",
    "workload_kind": "As source_workload_kind.",
    "subset": "Name of the subset in the DestinationRule.",
    "bound": "lower, estimate or upper.",
    "endpoint": "Name of the pod that the connection was sent to; empty where it was none.",
    "namespace": "Namespace of the pod.",
    "pod": "Name of the pod.",
    "interface": "Name of the interface inside its network namespace.",
    "node": "Name of the node.",
    "table": "flows, counters or state.",
    "result": "What became of it; the values are listed with the metric.",
    "source": "Where the collector has its flows from: ebpf, conntrack, packets; none where no source can be used.",
    "stage": "decode, state, attribute, policies, aggregate or output.",
    "kind": "Kind of the Kubernetes object.",
    "version": "Version of Flowatlas.",
}

_WATCHER_METRICS: Final = tuple(
    Metric(
        f"flowatlas_watcher_{name}",
        "counter" if name.endswith("_total") else "gauge",
        unit,
        labels,
        text,
        "fine",
        "watcher",
    )
    for name, unit, labels, text in (
        ("batches_total", "", ("table",), "Batches sent to the bus."),
        ("rows_total", "", ("table",), "Rows sent to the bus."),
        (
            "lost_rows_total",
            "",
            ("table", "reason"),
            "Rows that did not reach the bus, by reason: bus_full, bus_error. Each is made good by a new epoch.",
        ),
        ("objects", "", ("kind",), "Objects that the cluster has, by kind."),
        ("changes_total", "", ("kind",), "Objects put or deleted, those of the first listing included."),
        (
            "relists_total",
            "",
            ("kind", "reason"),
            "Lists of all objects of a kind, by reason: start, expired (the server keeps no changes so old), "
            "page_expired, malformed.",
        ),
        (
            "errors_total",
            "",
            ("kind", "reason"),
            "Questions that the API server did not answer, by reason: connection, timeout, server, throttled, "
            "unauthorized, forbidden, refused, credentials, malformed. No kind: the question which kinds there are.",
        ),
        ("malformed_objects_total", "", ("kind",), "Objects left out because they are not what their kind should be."),
        ("epochs_total", "", ("reason",), "Times that all objects were sent, by reason: start, full, lost."),
        ("current", "", ("kind",), "1 while a watch of the kind stands, 0 while the API server is being asked again."),
        (
            "last_mark_timestamp_seconds",
            "seconds",
            (),
            "Up to when every change was sent, as Unix time; time() minus this is how old the cluster's state is.",
        ),
    )
)

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
        "Gini coefficient of connections over the same endpoints: 0 is even, near 1 is all on one.",
    ),
    Metric(
        "flowatlas_service_last_connection_timestamp_seconds",
        "gauge",
        "seconds",
        SERVICE,
        "When a connection to the Service port last began; 0 where there was none since the pipeline started.",
    ),
    # zones and cost
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
    # Ingresses and Gateways
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
    # policies
    Metric(
        "flowatlas_policy_bytes_total",
        "counter",
        "bytes",
        POLICY,
        "Bytes both ways of connections for which the policy is responsible in the direction; where several policies "
        "are, each has all of them, so that sums over policies exceed the traffic.",
        "careful",
    ),
    Metric(
        "flowatlas_policy_connections_total",
        "counter",
        "",
        POLICY,
        "Connections opened, attempts among them, for which the policy is responsible in the direction; where several "
        "policies are, each has all of them.",
        "careful",
    ),
    Metric(
        "flowatlas_policy_mismatch_connections_total",
        "counter",
        "",
        ("mismatch", *PAIR),
        "Connections that went against what policies say: established_denied (established although denied), "
        "dropped_allowed (never answered by a pod that was there, although allowed).",
        "careful",
    ),
    Metric(
        "flowatlas_policy_coverage_bytes_total",
        "counter",
        "bytes",
        COVERED,
        "Bytes both ways of pods' connections by what they stand on: explicit (a rule allows), default_allow (policies "
        "select the pod and leave it to the default), unprotected (no policy selects it), denied, not_judged (a policy "
        "of a kind that is not understood may apply). Sums over coverage are all of a direction.",
        "careful",
    ),
    Metric(
        "flowatlas_policy_coverage_pods",
        "gauge",
        "",
        ("namespace", "direction", "coverage"),
        "Pods now: isolated (a NetworkPolicy isolates it), selected (by admin policies alone), unprotected. Sums over "
        "coverage are all pods that are not on their node's network.",
    ),
    Metric(
        "flowatlas_policy_default_deny",
        "gauge",
        "",
        ("namespace", "direction"),
        "1 where a NetworkPolicy of the namespace selects every pod and allows nothing, else 0.",
    ),
    Metric(
        "flowatlas_policy_not_judged_objects",
        "gauge",
        "",
        ("kind",),
        "Policies of kinds that are not understood, by kind; what they may apply to is not judged.",
    ),
    # the mesh
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
    Metric(
        "flowatlas_state_age_seconds",
        "gauge",
        "seconds",
        (),
        "Time since when the cluster's state is not known yet; grows while the watcher is away. Not there where the "
        "state is manifests.",
    ),
    Metric(
        "flowatlas_state_held_rows",
        "gauge",
        "",
        (),
        "Flow rows that wait for the cluster's state to tell of their time.",
    ),
    Metric(
        "flowatlas_state_late_rows_total",
        "counter",
        "",
        (),
        "Flow rows that had waited for `state_wait_s` and were judged by what was known, of a time before theirs.",
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
        "Rows that did not reach the bus, by reason: bus_full, bus_error, retention, spool_full, spool_error, "
        "spool_corrupt.",
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
        "flowatlas_collector_spool_bytes",
        "gauge",
        "bytes",
        (),
        "Size of the batches that wait on disk for the bus.",
        exposer="collector",
    ),
    Metric(
        "flowatlas_collector_spool_is_degraded",
        "gauge",
        "",
        (),
        "1 while the disk refuses batches and they are sent from memory or lost.",
        exposer="collector",
    ),
    Metric(
        "flowatlas_collector_spool_corrupt_segments_total",
        "counter",
        "",
        (),
        "Segments of the spool that were damaged and deleted; their rows are lost with reason spool_corrupt.",
        exposer="collector",
    ),
    Metric(
        "flowatlas_collector_dns_messages_total",
        "counter",
        "",
        ("result",),
        "DNS messages of pods, by result: read, malformed, skipped (more came than are read in a cycle), ring_full.",
        exposer="collector",
    ),
    Metric(
        "flowatlas_collector_tracked_flows",
        "gauge",
        "",
        (),
        "Connections that the flow source followed at its last look.",
        exposer="collector",
    ),
    Metric(
        "flowatlas_collector_source_info",
        "gauge",
        "",
        ("source", "reason"),
        "1 for the source that flows come from; the reason is why no better one could be used, empty where none is.",
        exposer="collector",
    ),
    Metric(
        "flowatlas_collector_attached_interfaces",
        "gauge",
        "",
        (),
        "Interfaces that the eBPF program counts at.",
        exposer="collector",
    ),
    Metric(
        "flowatlas_collector_missed_packets_total",
        "counter",
        "packets",
        ("reason",),
        "Packets that were seen and put into no flow, by reason: table_full, ring_full, malformed, fragment, "
        "icmp_control.",
        exposer="collector",
    ),
    Metric(
        "flowatlas_collector_missed_bytes_total",
        "counter",
        "bytes",
        ("reason",),
        "Bytes of these packets, by reason.",
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
    # the watcher itself
    *_WATCHER_METRICS,
)

BY_NAME: Final = {metric.name: metric for metric in METRICS}
