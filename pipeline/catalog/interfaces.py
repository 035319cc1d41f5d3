"""The counters of pods' interfaces, under the names that people already alert on."""

from __future__ import annotations

from typing import Final

from .labels import INTERFACE
from .metric import Metric

METRICS: Final = tuple(
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
