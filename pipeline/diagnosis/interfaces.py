"""Interfaces of pods and nodes that drop packets or count errors.

The counters are the kernel's, from when the interface began, so what is told may be past: the growth is the alerts'.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .evidence import Evidence, counted, full
from .finding import Finding

DROPS: Final = "interface-drops"
ERRORS: Final = "interface-errors"
_POD: Final = "container_network"
_NODE: Final = "flowatlas_node_network"
_WAYS: Final = ("receive", "transmit")
_COUNTED: Final = {"packets": "packets", "packets_dropped": "dropped", "errors": "errors"}
NAMES: Final = tuple(f"{prefix}_{way}_{what}_total" for prefix in (_POD, _NODE) for way in _WAYS for what in _COUNTED)

DROPPED: Final = 100
DROPPED_SHARE: Final = 0.001
"""More drops than this, and such a part of all packets, are told."""
MANY_ERRORS: Final = 10
"""More errors than this are told."""


def pod_interfaces(evidence: Evidence) -> Iterator[Finding]:
    """Interfaces of pods with drops or errors."""
    asked = None
    if evidence.asked_pods is not None:
        asked = {(pod.metadata.namespace or "default", pod.metadata.name) for pod in evidence.asked_pods}
    for check, keys, problem, seen in _troubled(evidence, _POD, ("namespace", "pod", "interface", "node")):
        namespace, pod, interface, node = keys
        if asked is None or (namespace, pod) in asked:
            subject = f"pod {full((namespace, pod))} interface {interface}"
            follow = f"kubectl -n {namespace} exec {pod} -- cat /proc/net/dev"
            yield Finding(check, "warning", subject, problem, (*seen, f"it is on node {node}"), follow)


def node_interfaces(evidence: Evidence) -> Iterator[Finding]:
    """Uplinks and tunnel devices of nodes with drops or errors."""
    for check, (node, interface), problem, seen in _troubled(evidence, _NODE, ("node", "interface")):
        if evidence.is_asked_node(node):
            follow = f"kubectl debug node/{node} -it --image=busybox -- grep -r . /sys/class/net/{interface}/statistics"
            yield Finding(check, "warning", f"node {node} interface {interface}", problem, seen, follow)


def _troubled(
    evidence: Evidence, prefix: str, labels: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, ...], str, tuple[str, ...]]]:
    """Interfaces beyond a bound: the check, their labels, the problem and what was counted."""
    counts = {
        (way, what): evidence.scrape.by(f"{prefix}_{way}_{what}_total", *labels) for way in _WAYS for what in _COUNTED
    }
    for keys in dict.fromkeys(keys for found in counts.values() for keys in found):
        passed, dropped, errors = (sum(counts[way, what].get(keys, 0) for way in _WAYS) for what in _COUNTED)
        ways = tuple(
            f"{way}: " + ", ".join(f"{counts[way, what].get(keys, 0):.0f} {word}" for what, word in _COUNTED.items())
            for way in _WAYS
        )
        if dropped > max(DROPPED, DROPPED_SHARE * (passed + dropped)):
            yield DROPS, keys, f"{dropped / (passed + dropped):.1%} of its packets were dropped", ways
        if errors > MANY_ERRORS:
            yield ERRORS, keys, f"it counted {counted(errors, 'error')}", ways
