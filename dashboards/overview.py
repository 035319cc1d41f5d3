"""Overview: is traffic flowing, between whom, what fails, and does Flowatlas itself see everything?"""

from __future__ import annotations

from typing import Final

from grafanalib.core import Dashboard

from pipeline.catalog import PAIR

from . import links
from .frame import frame
from .layout import Section, line, section
from .nodegraph import NAMESPACES, graph
from .panels import COUNT, Query, Value, stat, table, timeseries
from .queries import COUNTED, distinct, increase, or_zero, rate, top, zero_while
from .rows import (
    NAMESPACE_BYTES,
    NAMESPACE_CONNECTIONS,
    NAMESPACE_FAILURES,
    TOUCHING,
    by_namespace,
    failed_part,
    failures,
    pipeline,
    pod_interfaces,
)
from .variables import datasource, label

_BYTES: Final = "flowatlas_flow_bytes_total"
_CONNECTIONS: Final = "flowatlas_connections_total"
_FAILURES: Final = "flowatlas_connection_failures_total"
_PIPELINE: Final = "flowatlas_build_info"
_PODS: Final = ({"namespace": "$namespace"},)
_TALKERS: Final = (
    *("source_namespace", "source_workload", "destination_namespace", "destination_workload"),
    *("service_namespace", "service"),
)


def dashboard() -> Dashboard:
    """The dashboard, as grafanalib has it."""
    return frame(
        uid="flowatlas-overview",
        title="Flowatlas / Overview",
        description="Who talks to whom, what fails, and the health of the pipeline that says so.",
        variables=[datasource(), label("namespace", "Namespace", "container_network_receive_bytes_total", "namespace")],
        sections=[
            _key_figures(),
            _map(),
            _traffic(),
            _failures(),
            _talkers(),
            pod_interfaces("Pod interfaces", _PODS),
            pipeline("Flowatlas itself"),
        ],
    )


def _key_figures() -> Section:
    return section(
        "",
        line(
            4,
            stat(
                "Throughput",
                "Bytes a second in both directions of all connections with an end in the chosen namespaces.",
                "Bps",
                rate(NAMESPACE_BYTES, where=TOUCHING),
            ),
            stat(
                "New connections",
                "Connections opened a second, attempts that failed among them.",
                "cps",
                rate(NAMESPACE_CONNECTIONS, where=TOUCHING),
            ),
            failed_part(
                "Failed connections",
                "The part of the connections that were refused, reset or never answered. A failure counts when it is "
                "known: in a lull it may be all there is. Look at Failures below for what, and to whom.",
                NAMESPACE_FAILURES,
                NAMESPACE_CONNECTIONS,
                TOUCHING,
            ),
            stat(
                "Workload pairs",
                "How many pairs of workloads have exchanged bytes over the time shown.",
                "short",
                distinct(increase(_BYTES, by=PAIR, where=TOUCHING)),
            ),
            stat(
                "Services in use",
                "How many Services have been dialled over the time shown.",
                "short",
                distinct(increase("flowatlas_service_connections_total", by=("service_namespace", "service"))),
            ),
            stat(
                "Unattributed",
                "Bytes a second with an end in the cluster's own ranges that no object of the cluster's state "
                "holds. All namespaces.",
                "Bps",
                zero_while(_PIPELINE, rate("flowatlas_unattributed_bytes_total")),
            ),
        ),
    )


def _map() -> Section:
    return section(
        "Map",
        line(
            14,
            graph(
                "Namespaces",
                "Who talks to whom: kilobytes a second in both directions, arrows from the namespace that opened the "
                "connections. An arrow is red where 5 % of its connections or more fail. The 100 busiest.",
                NAMESPACES,
                TOUCHING,
                links.namespace(),
            ),
        ),
    )


def _traffic() -> Section:
    return section(
        "Traffic",
        line(
            8,
            by_namespace(
                "Throughput by answering namespace",
                "Bytes a second in both directions, by the namespace of the workload that answered; the areas add up.",
                "Bps",
                NAMESPACE_BYTES,
                "destination",
                TOUCHING,
            ),
            by_namespace(
                "Connections by opening namespace",
                "Connections opened a second, by the namespace of the workload that opened them; the areas add up.",
                "cps",
                NAMESPACE_CONNECTIONS,
                "source",
                TOUCHING,
            ),
        ),
    )


def _failures() -> Section:
    by_target = ("destination_namespace", "destination_workload")
    return section(
        "Failures",
        line(
            8,
            failures(
                "Failures by reason",
                "refused: a reset answered the first packet. reset: it was established first. no_reply: "
                "nothing answered, as when a policy drops it.",
                TOUCHING,
                NAMESPACE_FAILURES,
            ),
            timeseries(
                "Failures by target",
                "The ten workloads to which most connections fail at each instant, whoever opened them.",
                "cps",
                Query(
                    zero_while(COUNTED, top(10, rate(_FAILURES, by=by_target, where=TOUCHING)), "destination_workload"),
                    "{{destination_namespace}} {{destination_workload}}",
                ),
            ),
        ),
    )


def _talkers() -> Section:
    connections = increase(_CONNECTIONS, by=_TALKERS, where=TOUCHING)
    return section(
        "Top talkers",
        line(
            10,
            table(
                "Top talkers",
                "The 25 pairs of workloads with the most bytes over the time shown, both directions, and the "
                "Service they dialled; no Service where an address was dialled directly.",
                {
                    "source_namespace": "From namespace",
                    "source_workload": "From",
                    "destination_namespace": "To namespace",
                    "destination_workload": "To",
                    "service_namespace": "Service namespace",
                    "service": "Service",
                },
                [
                    Value("Bytes", "bytes", increase(_BYTES, by=_TALKERS, where=TOUCHING)),
                    Value("Connections", COUNT, connections),
                    Value("Failed", COUNT, or_zero(increase(_FAILURES, by=_TALKERS, where=TOUCHING), connections)),
                ],
                rows=25,
                links={
                    "From namespace": links.namespace(),
                    "From": links.workload("From namespace"),
                    "To namespace": links.namespace(),
                    "To": links.workload("To namespace"),
                    "Service": links.service("Service namespace"),
                },
            ),
        ),
    )
