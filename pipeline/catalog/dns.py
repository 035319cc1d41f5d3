"""What pods ask of DNS, what they are answered, and how fast."""

from __future__ import annotations

from typing import Final

from .labels import PAIR
from .metric import Metric

CLIENT: Final = ("source_namespace", "source_workload", "source_workload_kind")

BUCKETS: Final = (
    *(0.0001, 0.00025, 0.0005),
    *(0.001, 0.0025, 0.005),
    *(0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0),  # resolvers ask again after 5 s
)

METRICS: Final = (
    Metric(
        "flowatlas_dns_queries_total",
        "counter",
        "",
        (*CLIENT, "name_class", "type", "rcode"),
        "Questions of pods to DNS, over UDP and TCP and to whatever server, by what they were answered; a question "
        "that is sent again before its answer comes is one.",
        "careful",
    ),
    Metric(
        "flowatlas_dns_latency_seconds",
        "histogram",
        "seconds",
        (*CLIENT, "name_class"),
        "Time from question to answer at the pod's interface; those that nobody answered are not in it.",
        "careful",
        buckets=BUCKETS,
    ),
    Metric(
        "flowatlas_dns_bypass_queries_total",
        "counter",
        "",
        PAIR,
        "Questions of pods to something else than the cluster's DNS: neither a Service's port 53, nor a pod behind it, "
        "nor NodeLocal DNSCache. Those of the cluster's own DNS pods are not among them.",
        "careful",
    ),
)
