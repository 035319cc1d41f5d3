"""TCP health: how long connects and round trips take, what is sent again, dropped, refused or reset."""

from __future__ import annotations

from typing import Final

from grafanalib.core import Dashboard, Panel

from . import links
from .advice import to_do
from .frame import frame
from .heatmap import heatmap
from .layout import Section, line, section
from .panels import AMBER, COUNT, RED, Query, Value, stat, table, timeseries
from .queries import increase, or_zero, quantile, rate, share, top, zero_while
from .rows import failed_part, failures
from .variables import datasource, label

_CONNECT: Final = "flowatlas_tcp_connect_seconds"
_RTT: Final = "flowatlas_tcp_rtt_seconds"
_TOLD: Final = "flowatlas_tcp_rtt_seconds_count"
"""There where a kernel tells of sockets, so that what has no series yet reads 0 there and nothing elsewhere."""
_RETRANSMITS: Final = "flowatlas_tcp_retransmits_total"
_DROPS: Final = "flowatlas_drops_total"
_DROPPED: Final = "flowatlas_dropped_bytes_total"
_PACKETS: Final = "flowatlas_flow_packets_total"
_CONNECTIONS: Final = "flowatlas_connections_total"
_FAILURES: Final = "flowatlas_connection_failures_total"
_CHOSEN: Final = ({"destination_namespace": "$namespace", "destination_workload": "$workload"},)
_OF_TCP: Final = ({**_CHOSEN[0], "protocol": "TCP"},)
_PAIR: Final = ("source_namespace", "source_workload", "destination_namespace", "destination_workload")
_ANSWERED: Final = ("destination_namespace", "destination_workload")
_HEADINGS: Final = dict(zip(_PAIR, ("From namespace", "From", "To namespace", "To"), strict=True))
_LINKS: Final = {"From": links.workload("From namespace"), "To": links.workload("To namespace")}
_BETWEEN: Final = "{{source_namespace}} {{source_workload}} > {{destination_namespace}} {{destination_workload}}"


def dashboard() -> Dashboard:
    """The dashboard, as grafanalib has it."""
    return frame(
        uid="flowatlas-tcp",
        title="Flowatlas / TCP health",
        description="How long connects and round trips take, and what is sent again, dropped, refused or reset.",
        variables=[
            datasource(),
            label("namespace", "Answering namespace", _CONNECTIONS, "destination_namespace"),
            label(
                "workload",
                "Answering workload",
                _CONNECTIONS,
                "destination_workload",
                {"destination_namespace": "$namespace"},
            ),
        ],
        sections=[_key_figures(), _times(), _packets(), _details()],
    )


def _key_figures() -> Section:
    again = zero_while(_TOLD, rate(_RETRANSMITS, where=_CHOSEN))
    return section(
        "",
        line(
            4,
            stat(
                "Round trip, median",
                "Half of the round-trip times that kernels keep of connections to the chosen workloads are shorter.",
                "s",
                quantile(0.5, _RTT, where=_CHOSEN),
            ),
            stat(
                "Round trip, 99 %",
                f"One in a hundred round-trip times is longer. {to_do('FlowatlasRoundTripSlower')}",
                "s",
                quantile(0.99, _RTT, where=_CHOSEN),
                {0.1: AMBER, 0.5: RED},
            ),
            stat(
                "Connect, 99 %",
                "One in a hundred connects took longer, from the first SYN to its SYN-ACK. 1 s and more: a SYN was "
                "lost."
                f" {to_do('FlowatlasConnectSlower')}",
                "s",
                quantile(0.99, _CONNECT, where=_CHOSEN),
                {0.5: AMBER, 1: RED},
            ),
            stat(
                "Sent again",
                f"The part of TCP packets that either end sent again. {to_do('FlowatlasRetransmitsUp')}",
                "percentunit",
                zero_while(_TOLD, share(again, rate(_PACKETS, where=_OF_TCP))),
                {0.01: AMBER, 0.05: RED},
            ),
            stat(
                "Packets dropped",
                "Packets a second to the workloads that kernels dropped."
                " What to do: see reason and pair below; netfilter_drop is a policy's or a firewall's, no_socket a "
                "closed port.",
                "pps",
                zero_while(_TOLD, rate(_DROPS, where=_CHOSEN)),
                {1: AMBER},
            ),
            failed_part(
                "Failed connections",
                "The part of TCP connections that were refused, reset or never answered.",
                _FAILURES,
                _CONNECTIONS,
                _OF_TCP,
            ),
        ),
    )


def _times() -> Section:
    return section(
        "Times",
        line(
            8,
            _quantiles("Connect time", "From the first SYN to its SYN-ACK, by who opened it.", _CONNECT),
            heatmap(
                "Connects by time taken",
                "How many connects a second took how long; a second band at 1 s or 3 s is lost SYNs.",
                "s",
                _CONNECT,
                _CHOSEN,
            ),
        ),
        line(
            8,
            _quantiles("Round-trip time", "As kernels keep it of each connection that carried something.", _RTT),
            heatmap("Connections by round-trip time", "How many readings a second had which time.", "s", _RTT, _CHOSEN),
        ),
    )


def _quantiles(title: str, what: str, histogram: str) -> Panel:
    return timeseries(
        title,
        f"{what} Half, 95 % and 99 % of them are shorter.",
        "s",
        *(Query(quantile(q, histogram, where=_CHOSEN), f"{q:.0%}") for q in (0.5, 0.95, 0.99)),
    )


def _packets() -> Section:
    return section(
        "Packets and connections lost",
        line(
            8,
            timeseries(
                "Segments sent again, by pair",
                "Segments a second that either end sent again; the ten pairs of workloads with most.",
                "pps",
                Query(
                    zero_while(
                        _TOLD,
                        top(10, rate(_RETRANSMITS, by=_PAIR, where=_CHOSEN)),
                        "source_workload",
                        "destination_workload",
                    ),
                    _BETWEEN,
                ),
            ),
            timeseries(
                "Packets dropped, by reason",
                "Packets a second that kernels dropped; netfilter_drop is a policy's or firewall's.",
                "pps",
                Query(zero_while(_TOLD, rate(_DROPS, by=("reason",), where=_CHOSEN), "reason"), "{{reason}}"),
                stacked=True,
            ),
            failures(
                "Failed connections, by reason",
                "refused: a reset answered the first packet. reset: it was established first. no_reply: nothing "
                "answered.",
                _OF_TCP,
            ),
        ),
    )


def _details() -> Section:
    packets = increase(_PACKETS, by=_PAIR, where=_OF_TCP)
    by_reason = (*_PAIR, "reason")
    return section(
        "Where",
        line(
            9,
            table(
                "Slowest to answer",
                "The 50 workloads and Services with the longest round trips lately.",
                {
                    "destination_namespace": "Namespace",
                    "destination_workload": "Workload",
                    "service": "Service",
                },
                [
                    Value("Round trip, 99 %", "s", quantile(0.99, _RTT, by=(*_ANSWERED, "service"), where=_CHOSEN)),
                    Value("Median", "s", quantile(0.5, _RTT, by=(*_ANSWERED, "service"), where=_CHOSEN)),
                ],
                rows=50,
                links={"Namespace": links.namespace(), "Workload": links.workload("Namespace")},
            ),
        ),
        line(
            9,
            table(
                "Pairs by segments sent again",
                "The 50 pairs of workloads with most over the time shown, and all packets between them.",
                _HEADINGS,
                [
                    Value("Sent again", COUNT, or_zero(increase(_RETRANSMITS, by=_PAIR, where=_CHOSEN), packets)),
                    Value("Packets", COUNT, packets),
                ],
                rows=50,
                links=_LINKS,
            ),
        ),
        line(
            9,
            table(
                "Packets dropped",
                "The 50 pairs of workloads and reasons with most over the time shown.",
                {**_HEADINGS, "reason": "Reason"},
                [
                    Value("Packets", COUNT, increase(_DROPS, by=by_reason, where=_CHOSEN)),
                    Value("Bytes", "bytes", increase(_DROPPED, by=by_reason, where=_CHOSEN)),
                ],
                rows=50,
                links=_LINKS,
            ),
        ),
    )
