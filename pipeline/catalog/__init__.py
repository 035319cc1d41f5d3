"""The metric contract: every metric that Flowatlas exposes, as data, one module a topic.

What computes a metric, the dashboards that query it and the reference page that documents it all read this package; a
name or label that is not here does not exist. The invariant: sums over any label set of a counter are true sums, so
every connection is in each metric family exactly once; those by policy alone have it once a responsible policy.
"""

from __future__ import annotations

from typing import Final

from . import (
    arrivals,
    collector,
    dns,
    external,
    ingress,
    interfaces,
    mesh,
    pipeline,
    policies,
    services,
    tcp,
    traffic,
    watcher,
    zones,
)
from .labels import COVERED, INTERFACE, LABEL_HELP, NAMESPACES, NODE_INTERFACE, PAIR, POLICY, ROUTE, SERVICE, SUBSET
from .metric import Cardinality, Exposer, Kind, Metric

__all__ = [
    "BY_NAME",
    "COVERED",
    "INTERFACE",
    "LABEL_HELP",
    "METRICS",
    "NAMESPACES",
    "NODE_INTERFACE",
    "PAIR",
    "POLICY",
    "ROUTE",
    "SERIES",
    "SERVICE",
    "SUBSET",
    "Cardinality",
    "Exposer",
    "Kind",
    "Metric",
]

METRICS: Final[tuple[Metric, ...]] = (
    *traffic.METRICS,
    *services.METRICS,
    *tcp.METRICS,
    *dns.METRICS,
    *zones.METRICS,
    *external.METRICS,
    *ingress.METRICS,
    *policies.METRICS,
    *mesh.METRICS,
    *interfaces.METRICS,
    *pipeline.METRICS,
    *arrivals.METRICS,
    *collector.METRICS,
    *watcher.METRICS,
)
"""Every metric, in the order of the reference page."""

BY_NAME: Final = {metric.name: metric for metric in METRICS}
"""Metrics by name."""

SERIES: Final = {name: labels for metric in METRICS for name, labels in metric.series.items()}
"""The labels of every time series by its name: those of `BY_NAME`, and a histogram's `_bucket`, `_sum`, `_count`."""
