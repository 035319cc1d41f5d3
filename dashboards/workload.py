"""Workload: what one workload answers and opens, with whom, what fails, and how its packets fare."""

from __future__ import annotations

from typing import Final

from grafanalib.core import Dashboard

from . import links
from .frame import frame
from .layout import Section, line, section
from .nodegraph import WORKLOADS, graph
from .panels import COUNT, Query, Value, stat, table, timeseries
from .queries import COUNTED, NOT, Filter, distinct, increase, named, or_zero, rate, top, zero_while
from .rows import failed_part, failures
from .variables import datasource, label

_BYTES: Final = "flowatlas_flow_bytes_total"
_CONNECTIONS: Final = "flowatlas_connections_total"
_FAILURES: Final = "flowatlas_connection_failures_total"
_RETRANSMITS: Final = "flowatlas_tcp_retransmits_total"
_DROPS: Final = "flowatlas_drops_total"
_RTT: Final = "flowatlas_tcp_rtt_seconds_count"
_DNS: Final = "flowatlas_dns_queries_total"
_COVERED: Final = "flowatlas_policy_coverage_bytes_total"
_FROM: Final = ({"source_namespace": "$namespace", "source_workload": "$workload"},)
_TO: Final = ({"destination_namespace": "$namespace", "destination_workload": "$workload"},)
_TOUCHING: Final = (
    *_FROM,
    {**_TO[0], "source_namespace": f"{NOT}$namespace"},
    {**_TO[0], "source_namespace": "$namespace", "source_workload": f"{NOT}$workload"},
)
"""Connections with either end at the chosen workloads. The later filters leave out what the first has: a connection
between two of them is looked up once."""
_OWN: Final = ({"namespace": "$namespace", "workload": "$workload"},)
_CALLER: Final = ("source_namespace", "source_workload")
_CALLED: Final = ("destination_namespace", "destination_workload")
_SERVICE: Final = ("service_namespace", "service")


def dashboard() -> Dashboard:
    """The dashboard, as grafanalib has it."""
    return frame(
        uid="flowatlas-workload",
        title="Flowatlas / Workload",
        description="What a workload answers and opens, with whom, what of it fails, and how its packets fare.",
        variables=[
            datasource(),
            label("namespace", "Namespace", _COVERED, "namespace"),
            label("workload", "Workload", _COVERED, "workload", {"namespace": "$namespace"}),
        ],
        sections=[_key_figures(), _map(), _trends(), _peers(), _packets()],
    )


def _key_figures() -> Section:
    return section(
        "",
        line(
            4,
            stat(
                "Answered",
                "Bytes a second in both directions of connections to the chosen workloads.",
                "Bps",
                zero_while(COUNTED, rate(_BYTES, where=_TO)),
            ),
            stat(
                "Opened",
                "Bytes a second in both directions of connections that the chosen workloads opened.",
                "Bps",
                zero_while(COUNTED, rate(_BYTES, where=_FROM)),
            ),
            failed_part(
                "Failed connections in",
                "The part of the connections to them that were refused, reset or never answered.",
                _FAILURES,
                _CONNECTIONS,
                _TO,
            ),
            failed_part(
                "Failed connections out",
                "The part of the connections that they opened and that were refused, reset or never answered.",
                _FAILURES,
                _CONNECTIONS,
                _FROM,
            ),
            stat(
                "Callers",
                "How many workloads have opened connections to them over the time shown.",
                "short",
                zero_while(COUNTED, distinct(increase(_CONNECTIONS, by=_CALLER, where=_TO))),
            ),
            stat(
                "Called",
                "To how many workloads they have opened connections over the time shown.",
                "short",
                zero_while(COUNTED, distinct(increase(_CONNECTIONS, by=_CALLED, where=_FROM))),
            ),
        ),
    )


def _map() -> Section:
    return section(
        "Neighbours",
        line(
            12,
            graph(
                "Neighbours",
                "Who the chosen workloads talk to: kilobytes a second in both directions, arrows from the workload "
                "that opened the connections. An arrow is red where 5 % of its connections or more fail.",
                WORKLOADS,
                _TOUCHING,
                links.workload("subtitle"),
            ),
        ),
    )


def _trends() -> Section:
    return section(
        "Traffic",
        line(
            8,
            _throughput("Throughput by caller", "Connections to the workloads, by who opened them.", _CALLER, _TO),
            _throughput("Throughput by called", "Connections that they opened, by who answered.", _CALLED, _FROM),
        ),
        line(
            8,
            timeseries(
                "Connections in and out",
                "Connections opened a second, attempts that failed among them.",
                "cps",
                Query(zero_while(COUNTED, rate(_CONNECTIONS, where=_TO)), "in"),
                Query(zero_while(COUNTED, rate(_CONNECTIONS, where=_FROM)), "out"),
            ),
            failures(
                "Failures in, by reason",
                "refused: a reset answered the first packet. reset: it was established first. no_reply: nothing "
                "answered, as when a policy drops it.",
                _TO,
            ),
            failures("Failures out, by reason", "As on the left, of the connections that the workloads opened.", _FROM),
        ),
    )


def _throughput(title: str, what: str, by: tuple[str, str], where: tuple[Filter, ...]) -> object:
    namespace, workload = by
    return timeseries(
        title,
        f"{what} Bytes a second in both directions; the ten busiest at each instant.",
        "Bps",
        Query(
            top(10, named(namespace, rate(_BYTES, by=by, where=where), empty="-")),
            f"{{{{{namespace}}}}} {{{{{workload}}}}}",
        ),
    )


def _peers() -> Section:
    return section(
        "With whom",
        line(
            8,
            _peer_table("Callers", "The 50 workloads that exchanged most on connections to these.", _CALLER, _TO),
        ),
        line(
            8,
            _peer_table("Called", "The 50 workloads to which these opened the busiest connections.", _CALLED, _FROM),
        ),
    )


def _peer_table(title: str, description: str, peer: tuple[str, str], where: tuple[Filter, ...]) -> object:
    keys = (*peer, *_SERVICE)
    connections = increase(_CONNECTIONS, by=keys, where=where)
    return table(
        title,
        f"{description} With the Service dialled; no Service where an address was dialled directly.",
        dict(zip(keys, ("Namespace", "Workload", "Service namespace", "Service"), strict=True)),
        [
            Value("Bytes", "bytes", increase(_BYTES, by=keys, where=where)),
            Value("Connections", COUNT, connections),
            Value("Failed", COUNT, or_zero(increase(_FAILURES, by=keys, where=where), connections)),
        ],
        rows=50,
        links={
            "Namespace": links.namespace(),
            "Workload": links.workload("Namespace"),
            "Service": links.service("Service namespace"),
        },
    )


def _packets() -> Section:
    return section(
        "Packets, names and policies",
        line(
            8,
            timeseries(
                "Segments sent again and packets dropped",
                "Segments a second that either end sent again, and packets that kernels dropped on their way. Empty "
                "where no kernel tells, because the collectors' hooks are not in it.",
                "pps",
                Query(zero_while(_RTT, rate(_RETRANSMITS, where=_TOUCHING)), "sent again"),
                Query(zero_while(_RTT, rate(_DROPS, by=("reason",), where=_TOUCHING), "reason"), "drop: {{reason}}"),
            ),
            timeseries(
                "DNS questions by answer",
                "Questions a second of the workloads, by response code.",
                "reqps",
                Query(zero_while(_DNS, rate(_DNS, by=("rcode",), where=_FROM), "rcode"), "{{rcode}}"),
                stacked=True,
            ),
            timeseries(
                "Traffic by what it stands on",
                "Bytes a second by direction: allowed by a rule, by default, by no policy at all, or denied.",
                "Bps",
                Query(
                    rate(_COVERED, by=("direction", "coverage"), where=_OWN),
                    "{{direction}} {{coverage}}",
                ),
            ),
        ),
    )
