"""How well connections go: connect and round-trip times, segments sent again, and what kernels drop."""

from __future__ import annotations

from typing import Final

from .labels import PAIR
from .metric import Metric

TIMED: Final = (
    "destination_namespace",
    "destination_workload",
    "destination_workload_kind",
    "service_namespace",
    "service",
)
"""Labels of times: who answered, for which Service. Not who asked, since each has a series a bucket."""

BUCKETS: Final = (
    *(0.00005, 0.0001, 0.00025, 0.0005),
    *(0.001, 0.0025, 0.005),
    *(0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5),
    *(1.0, 2.5, 10.0),  # a SYN is sent again after 1, 3 and 7 s
)

METRICS: Final = (
    Metric(
        "flowatlas_tcp_connect_seconds",
        "histogram",
        "seconds",
        TIMED,
        "Time from a connection's first SYN to its SYN-ACK, as the socket of who opened it measured it: only where "
        "that is on a node with a collector.",
        "careful",
        buckets=BUCKETS,
    ),
    Metric(
        "flowatlas_tcp_rtt_seconds",
        "histogram",
        "seconds",
        TIMED,
        "Smoothed round-trip times as the kernel keeps them, one observation a connection that carried something "
        "between two readings of the node.",
        "careful",
        buckets=BUCKETS,
    ),
    Metric(
        "flowatlas_tcp_retransmits_total",
        "counter",
        "",
        PAIR,
        "TCP segments that either end of a connection between two workloads sent again, whichever node told of it; "
        "pairs that never did have no series.",
        "careful",
    ),
    Metric(
        "flowatlas_drops_total",
        "counter",
        "",
        (*PAIR, "reason"),
        "Packets that the kernel of a node dropped, by the kernel's own reason (netfilter_drop, no_socket, "
        "qdisc_drop, ...); source is who sent the packet.",
        "careful",
    ),
    Metric(
        "flowatlas_dropped_bytes_total",
        "counter",
        "bytes",
        (*PAIR, "reason"),
        "Bytes of packets that the kernel of a node dropped, by the kernel's own reason; IP headers included.",
        "careful",
    ),
)
