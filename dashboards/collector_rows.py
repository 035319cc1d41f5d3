"""The rows of Pipeline health that tell of collectors: what they send, what they read, what they miss.

They are told apart by Prometheus' label `instance`, since a collector's own metrics do not name its node.
"""

from __future__ import annotations

from typing import Final

from grafanalib.core import Panel

from .layout import Section, line, section
from .panels import COUNT, Query, Value, table, timeseries
from .queries import increase, or_zero, rate, total, zero_while

COLLECTOR: Final = "flowatlas_collector_build_info"
"""There wherever a collector is scraped, so that what has no series yet reads 0 there and nothing elsewhere."""
LOST: Final = "flowatlas_collector_lost_rows_total"

_BY: Final = ("instance",)


def collectors() -> Section:
    """Each collector, what it has sent and lost, and where its flows come from."""
    rows = increase("flowatlas_collector_rows_total", by=_BY)
    source = total("flowatlas_collector_source_info", by=(*_BY, "source", "reason"))
    followed = total("flowatlas_collector_tracked_flows", by=_BY)
    return section(
        "Collectors",
        line(
            8,
            table(
                "Collectors",
                "The 100 collectors that sent most rows over the time shown; 1 where one signs with its node's key. "
                "Empty where Prometheus does not scrape them.",
                {"instance": "Collector"},
                [
                    Value("Rows", COUNT, rows),
                    Value("Batches", COUNT, increase("flowatlas_collector_batches_total", by=_BY)),
                    Value("Rows lost", COUNT, or_zero(increase(LOST, by=_BY), rows)),
                    Value(
                        "Bytes lost", "bytes", or_zero(increase("flowatlas_collector_lost_bytes_total", by=_BY), rows)
                    ),
                    Value("Flows followed", COUNT, followed),
                    Value("Spooled", "bytes", or_zero(total("flowatlas_collector_spool_bytes", by=_BY), rows)),
                    Value("Signs", COUNT, or_zero(total("flowatlas_collector_is_signing", by=_BY), rows)),
                ],
                rows=100,
            ),
            table(
                "Where flows come from",
                "The source that each collector has its flows from, and why it has no better one.",
                {"instance": "Collector", "source": "Source", "reason": "Why no better one"},
                [
                    Value("In use", COUNT, source),
                    Value("Flows followed", COUNT, f"{source} * on (instance) group_left () {followed}"),
                ],
                rows=100,
            ),
        ),
    )


def kernel() -> Section:
    """What collectors read of the kernel, and what that costs."""
    return section(
        "Collectors and the kernel",
        line(
            7,
            _of_collectors(
                "Time spent",
                "Seconds a second spent reading the kernel, building rows and encoding; 1 s is one core's whole time.",
                "s",
                rate("flowatlas_collector_cycle_seconds_total", by=_BY),
            ),
            _of_collectors(
                "Connections followed",
                "Connections that the flow source followed at its last look.",
                "short",
                total("flowatlas_collector_tracked_flows", by=_BY),
            ),
            _of_collectors(
                "Interfaces attached",
                "Interfaces that the eBPF program counts at. 0 where flows come from conntrack or from packets.",
                "short",
                zero_while(COLLECTOR, total("flowatlas_collector_attached_interfaces", by=_BY), "instance"),
            ),
            timeseries(
                "Hooks",
                "On how many collectors the kernel has the hooks that tell of sockets, drops, names and heads.",
                "short",
                Query(
                    zero_while(COLLECTOR, total("flowatlas_collector_hook_info", by=("hook", "reason")), "hook"),
                    "{{hook}} {{reason}}",
                ),
            ),
        ),
        line(
            7,
            _results(
                "What sockets told",
                "Observations a second of TCP sockets, by what became of them.",
                "flowatlas_collector_tcp_observations_total",
            ),
            _results(
                "DNS messages",
                "DNS messages of pods a second, by what became of them.",
                "flowatlas_collector_dns_messages_total",
            ),
            _results(
                "Heads of connections",
                "Heads of connections seen a second (TLS names, HTTP hosts), by what became of them.",
                "flowatlas_collector_heads_total",
            ),
            _of_collectors(
                "Connections cut",
                "Connections a second that nobody answered, told as ended before their time since a scan or a flood "
                "made too many of them.",
                "ops",
                zero_while(COLLECTOR, rate("flowatlas_collector_cut_flows_total", by=_BY), "instance"),
            ),
        ),
    )


def _of_collectors(title: str, description: str, unit: str, expression: str) -> Panel:
    return timeseries(title, description, unit, Query(expression, "{{instance}}"))


def _results(title: str, description: str, metric: str) -> Panel:
    return timeseries(
        title,
        description,
        "ops",
        Query(zero_while(COLLECTOR, rate(metric, by=("result",)), "result"), "{{result}}"),
        stacked=True,
    )


def missed() -> Section:
    """What collectors could not read, or not bring to the bus."""

    def reasons(metric: str) -> str:
        return zero_while(COLLECTOR, rate(f"flowatlas_collector_{metric}_total", by=("reason",)), "reason")

    def events(metric: str) -> str:
        return zero_while(COLLECTOR, rate(f"flowatlas_collector_{metric}_total"))

    return section(
        "What collectors miss",
        line(
            7,
            timeseries(
                "Packets in no flow",
                "Packets a second that were seen and put into no flow, by reason.",
                "pps",
                Query(reasons("missed_packets"), "{{reason}}"),
                Query(events("missed_drops"), "dropped packets without a place in the table"),
            ),
            timeseries(
                "Bytes in no flow or lost",
                "Bytes a second of these packets, by reason, and flow bytes of rows that did not reach the bus.",
                "Bps",
                Query(reasons("missed_bytes"), "in no flow: {{reason}}"),
                Query(reasons("lost_bytes"), "lost: {{reason}}"),
            ),
            timeseries(
                "Kernel messages lost or not understood",
                "Times a second that conntrack's events overran, messages that could not be decoded, and reads of a "
                "source that failed.",
                "ops",
                Query(events("netlink_overruns"), "overruns"),
                Query(
                    zero_while(COLLECTOR, rate("flowatlas_collector_failed_reads_total", by=("table",)), "table"),
                    "not read: {{table}}",
                ),
                Query(reasons("malformed_messages"), "malformed: {{reason}}"),
            ),
            timeseries(
                "Spool",
                "Bytes of batches that wait on disk for the bus; it fills while the bus is away.",
                "bytes",
                Query(
                    zero_while(COLLECTOR, total("flowatlas_collector_spool_bytes", by=_BY), "instance"), "{{instance}}"
                ),
            ),
        ),
        line(
            6,
            timeseries(
                "Spools that the disk refuses",
                "Collectors whose disk refuses batches, so that they are sent from memory or lost.",
                "short",
                Query(zero_while(COLLECTOR, total("flowatlas_collector_spool_is_degraded")), "collectors"),
            ),
            timeseries(
                "Damaged spool segments",
                "Segments a second that were damaged and deleted; their rows are lost.",
                "ops",
                Query(events("spool_corrupt_segments"), "segments"),
            ),
        ),
    )
