"""Namespace: what its workloads exchange inside and across its border, what fails, and how policies cover them."""

from __future__ import annotations

from typing import Final

from grafanalib.core import Dashboard

from . import links
from .advice import to_do
from .frame import frame
from .layout import Section, line, section
from .nodegraph import WORKLOADS, graph
from .panels import AMBER, COUNT, Query, Value, stat, table, timeseries
from .queries import COUNTED, distinct, increase, or_zero, rate, top, total, zero_while
from .rows import (
    NAMESPACE_BYTES,
    NAMESPACE_CONNECTIONS,
    NAMESPACE_FAILURES,
    TOUCHING,
    by_namespace,
    coverage,
    failed_part,
    failures,
    pod_interfaces,
)
from .variables import datasource, label

_BYTES: Final = "flowatlas_flow_bytes_total"
_CONNECTIONS: Final = "flowatlas_connections_total"
_FAILURES: Final = "flowatlas_connection_failures_total"
_DNS: Final = "flowatlas_dns_queries_total"
_COVERED_PODS: Final = "flowatlas_policy_coverage_pods"
_FROM: Final = ({"source_namespace": "$namespace"},)
_TO: Final = ({"destination_namespace": "$namespace"},)
_OWN: Final = ({"namespace": "$namespace"},)
_UNPROTECTED: Final = ({"namespace": "$namespace", "coverage": "unprotected"},)
_DNS_FAILED: Final = ({**_FROM[0], "rcode": "SERVFAIL|REFUSED|FORMERR|NOTIMP|no_answer|[0-9]+"},)


def dashboard() -> Dashboard:
    """The dashboard, as grafanalib has it."""
    return frame(
        uid="flowatlas-namespace",
        title="Flowatlas / Namespace",
        description="What the workloads of a namespace exchange, with whom, what fails, and which policies cover them.",
        variables=[
            datasource(),
            label("namespace", "Namespace", "container_network_receive_bytes_total", "namespace"),
        ],
        sections=[
            _key_figures(),
            _map(),
            _traffic(),
            _workloads(),
            _neighbours(),
            coverage("Policies", _OWN),
            pod_interfaces("Pods", _OWN),
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
                "Connections in",
                "Connections a second that the namespaces' workloads were asked for, failed ones among them.",
                "cps",
                zero_while(COUNTED, rate(NAMESPACE_CONNECTIONS, where=_TO)),
            ),
            failed_part(
                "Failed connections in",
                "The part of these that were refused, reset or never answered.",
                NAMESPACE_FAILURES,
                NAMESPACE_CONNECTIONS,
                _TO,
            ),
            failed_part(
                "Failed connections out",
                "The part of the connections opened here that were refused, reset or never answered.",
                NAMESPACE_FAILURES,
                NAMESPACE_CONNECTIONS,
                _FROM,
            ),
            stat(
                "Workloads answering",
                "How many workloads have been asked for connections over the time shown.",
                "short",
                zero_while(
                    COUNTED,
                    distinct(increase(_CONNECTIONS, by=("destination_namespace", "destination_workload"), where=_TO)),
                ),
            ),
            stat(
                "Unprotected pods",
                f"Pods that no policy selects for what they receive. {to_do('FlowatlasNamespaceUnprotected')}",
                "short",
                zero_while(_COVERED_PODS, total(_COVERED_PODS, where=({**_UNPROTECTED[0], "direction": "ingress"},))),
                {1: AMBER},
            ),
        ),
    )


def _map() -> Section:
    return section(
        "Service map",
        line(
            16,
            graph(
                "Service map",
                "Who talks to whom: kilobytes a second in both directions, arrows from the workload that opened the "
                "connections. An arrow is red where 5 % of its connections or more fail. The 100 busiest.",
                WORKLOADS,
                TOUCHING,
                links.workload("subtitle"),
            ),
        ),
    )


def _traffic() -> Section:
    return section(
        "Traffic",
        line(
            8,
            timeseries(
                "Throughput by answering workload",
                "Bytes a second in both directions of connections to the ten busiest workloads of the namespaces.",
                "Bps",
                Query(
                    top(10, rate(_BYTES, by=("destination_namespace", "destination_workload"), where=_TO)),
                    "{{destination_namespace}} {{destination_workload}}",
                ),
            ),
            timeseries(
                "Throughput by opening workload",
                "Bytes a second in both directions of connections opened by the ten busiest workloads.",
                "Bps",
                Query(
                    top(10, rate(_BYTES, by=("source_namespace", "source_workload"), where=_FROM)),
                    "{{source_namespace}} {{source_workload}}",
                ),
            ),
        ),
        line(
            8,
            failures(
                "Failures of connections in, by reason",
                "refused: a reset answered the first packet. reset: it was established first. no_reply: nothing "
                "answered, as when a policy drops it.",
                _TO,
                NAMESPACE_FAILURES,
            ),
            failures(
                "Failures of connections out, by reason",
                "As on the left, of the connections that the namespaces' own workloads opened.",
                _FROM,
                NAMESPACE_FAILURES,
            ),
            timeseries(
                "DNS questions and failures",
                "Questions a second of the namespaces' pods, and those that nobody answered or the server failed at.",
                "reqps",
                Query(zero_while(_DNS, rate(_DNS, where=_FROM)), "questions"),
                Query(zero_while(_DNS, rate(_DNS, where=_DNS_FAILED)), "failed"),
            ),
        ),
    )


def _workloads() -> Section:
    keys = ("destination_namespace", "destination_workload", "destination_workload_kind")
    connections = increase(_CONNECTIONS, by=keys, where=_TO)
    return section(
        "Workloads",
        line(
            9,
            table(
                "Workloads by bytes answered",
                "The 50 workloads of the namespaces that exchanged most on connections to them over the time shown.",
                {
                    "destination_namespace": "Namespace",
                    "destination_workload": "Workload",
                    "destination_workload_kind": "Kind",
                },
                [
                    Value("Bytes", "bytes", increase(_BYTES, by=keys, where=_TO)),
                    Value("Connections", COUNT, connections),
                    Value("Failed", COUNT, or_zero(increase(_FAILURES, by=keys, where=_TO), connections)),
                ],
                rows=50,
                links={"Workload": links.workload("Namespace")},
            ),
        ),
    )


def _neighbours() -> Section:
    return section(
        "Neighbours",
        line(
            8,
            _neighbour_table(
                "Called by",
                "The 25 namespaces whose workloads exchanged most on connections to these; empty: outside and nodes.",
                "source_namespace",
                _TO,
            ),
            _neighbour_table(
                "Calls",
                "The 25 namespaces to whose workloads these opened the busiest connections; empty: outside and nodes.",
                "destination_namespace",
                _FROM,
            ),
        ),
        line(
            8,
            by_namespace(
                "Throughput by calling namespace",
                "Bytes a second in both directions of connections to the namespaces; the areas add up.",
                "Bps",
                NAMESPACE_BYTES,
                "source",
                _TO,
            ),
            by_namespace(
                "Throughput by called namespace",
                "Bytes a second in both directions of connections that the namespaces opened; the areas add up.",
                "Bps",
                NAMESPACE_BYTES,
                "destination",
                _FROM,
            ),
        ),
    )


def _neighbour_table(title: str, description: str, key: str, where: tuple[dict[str, str], ...]) -> object:
    connections = increase(NAMESPACE_CONNECTIONS, by=(key,), where=where)
    return table(
        title,
        description,
        {key: "Namespace"},
        [
            Value("Bytes", "bytes", increase(NAMESPACE_BYTES, by=(key,), where=where)),
            Value("Connections", COUNT, connections),
            Value("Failed", COUNT, or_zero(increase(NAMESPACE_FAILURES, by=(key,), where=where), connections)),
        ],
        rows=25,
        links={"Namespace": links.namespace()},
    )
