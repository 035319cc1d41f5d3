"""Alerts on the interfaces of pods and nodes: errors, and packets dropped there."""

from __future__ import annotations

from typing import Final

from pipeline.catalog import INTERFACE, NODE_INTERFACE

from ..queries import select
from .alert import Alert

_GROUP: Final = "flowatlas-interfaces"
_POD: Final = "{{ $labels.interface }} of pod {{ $labels.namespace }}/{{ $labels.pod }}"
_NODE: Final = "{{ $labels.interface }} of node {{ $labels.node }}"


def _counted(prefix: str, labels: tuple[str, ...], what: str) -> str:
    """What was counted in ten minutes, received and transmitted together."""
    ways = " + ".join(f"increase({select(f'{prefix}_{way}_{what}_total')}[10m])" for way in ("receive", "transmit"))
    return f"sum by ({', '.join(labels)}) ({ways})"


def _dropped(prefix: str, labels: tuple[str, ...]) -> str:
    """The share of packets that were dropped, where those are a thousandth and a hundred or more."""
    dropped, passed = (_counted(prefix, labels, what) for what in ("packets_dropped", "packets"))
    return f"({dropped} / ({passed} + {dropped}) > 0.001) and {dropped} > 100"


ALERTS: Final = tuple(
    alert
    for owner, prefix, labels, whose, where in (
        ("Pod", "container_network", INTERFACE, _POD, ", on node {{ $labels.node }},"),
        ("Node", "flowatlas_node_network", NODE_INTERFACE, _NODE, ""),
    )
    for alert in (
        Alert(
            f"Flowatlas{owner}InterfaceErrors",
            _GROUP,
            f"{_counted(prefix, labels, 'errors')} > 10",
            "5m",
            "warning",
            f"Errors at interface {whose}",
            f"Within the last 10 minutes interface {whose}{where} counted {{{{ $value | humanize }}}} errors.",
        ),
        Alert(
            f"Flowatlas{owner}InterfaceDrops",
            _GROUP,
            _dropped(prefix, labels),
            "10m",
            "warning",
            f"{{{{ $value | humanizePercentage }}}} of packets dropped at interface {whose}",
            f"For more than 10 minutes interface {whose}{where} has dropped {{{{ $value | humanizePercentage }}}} of "
            "its packets.",
        ),
    )
)
