"""The counters of pods' interfaces, under the names that people already alert on, and how much of them is in flows."""

from __future__ import annotations

from typing import Final

from .labels import INTERFACE, NODE_INTERFACE
from .metric import Cardinality, Metric

_DONE: Final = {"receive": "received", "transmit": "transmitted"}

_HOLDERS: Final[tuple[tuple[str, tuple[str, ...], str, Cardinality], ...]] = (
    ("container_network", INTERFACE, "the pod's interface, as the pod sees it", "careful"),
    ("flowatlas_node_network", NODE_INTERFACE, "the node's uplink or tunnel device", "fine"),
)

METRICS: Final = (
    *(
        Metric(
            f"{prefix}_{direction}_{what}_total",
            "counter",
            "bytes" if what == "bytes" else "",
            labels,
            f"{text} {_DONE[direction]} by {whose}.",
            cardinality,
        )
        for prefix, labels, whose, cardinality in _HOLDERS
        for direction in ("receive", "transmit")
        for what, text in (
            ("bytes", "Bytes"),
            ("packets", "Packets"),
            ("errors", "Errors while packets were"),
            ("packets_dropped", "Packets dropped while being"),
        )
    ),
    *(
        Metric(
            f"container_network_{family}_usage_total",
            "untyped",
            "",
            ("namespace", "pod", "node", "tcp_state"),
            f"TCP sockets of {ip} that the pod has, as cAdvisor calls them: it rises and falls. States without any "
            "until now are left out.",
            "costly",
        )
        for family, ip in (("tcp", "IPv4"), ("tcp6", "IPv6"))
    ),
    Metric(
        "flowatlas_capture_coverage_ratio",
        "gauge",
        "ratio",
        ("node", "namespace", "pod"),
        "Bytes of flows at the pod, with link headers, over what its interfaces counted in the last 10 minutes.",
        "careful",
    ),
    Metric(
        "flowatlas_node_capture_coverage_ratio",
        "gauge",
        "ratio",
        ("node",),
        "Bytes of flows at all pods of the node together, over what their interfaces counted in the last 10 minutes.",
    ),
)
