"""What each collector tells of itself. `collector.metrics` repeats these entries, and a test holds them together."""

from __future__ import annotations

from typing import Final

from .metric import Metric

METRICS: Final = (
    Metric(
        "flowatlas_collector_build_info",
        "gauge",
        "",
        ("version", "python"),
        "Always 1; the labels tell the versions of the collector and of its Python.",
        exposer="collector",
    ),
    Metric(
        "flowatlas_collector_is_signing",
        "gauge",
        "",
        (),
        "1 where batches are signed with the node's key (collector.node_key).",
        exposer="collector",
    ),
    Metric(
        "flowatlas_collector_batches_total", "counter", "", ("table",), "Batches sent to the bus.", exposer="collector"
    ),
    Metric("flowatlas_collector_rows_total", "counter", "", ("table",), "Rows sent to the bus.", exposer="collector"),
    Metric(
        "flowatlas_collector_lost_rows_total",
        "counter",
        "",
        ("table", "reason"),
        "Rows that did not reach the bus, by reason: bus_full, bus_error, too_large, retention, spool_full, "
        "spool_error, spool_corrupt, out_of_range (of a driver that counts below zero).",
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
        "flowatlas_collector_failed_reads_total",
        "counter",
        "",
        ("table",),
        "Times that the source of a table could not be read; it is asked again in the next cycle.",
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
        "flowatlas_collector_heads_total",
        "counter",
        "",
        ("result",),
        "Heads of connections seen at pods' interfaces, by result: joined (to a flow), repeated (the flow's row told "
        "one already), unmatched (no flow came), malformed, cut (goes on in a later segment), skipped (more came than "
        "are read in a cycle), ring_full.",
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
        "flowatlas_collector_cut_flows_total",
        "counter",
        "",
        (),
        "Connections that nobody answered, told as ended before their time since too many of them were followed.",
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
        "flowatlas_collector_hook_info",
        "gauge",
        "",
        ("hook", "reason"),
        "1 where the hooks of tcp_health, drops, dns or heads are in the kernel, 0 where it refuses them; the reason "
        "is why: object, libbpf, privileges, kernel.",
        exposer="collector",
    ),
    Metric(
        "flowatlas_collector_tcp_observations_total",
        "counter",
        "",
        ("result",),
        "What TCP sockets told of their connections, by result: joined (to a flow), unmatched (no flow came), "
        "table_full, no_memory.",
        exposer="collector",
    ),
    Metric(
        "flowatlas_collector_missed_drops_total",
        "counter",
        "",
        (),
        "Dropped packets that had no place in the kernel's table of drops.",
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
        "Bytes of packets that were seen and put into no flow, by reason as flowatlas_collector_missed_packets_total.",
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
