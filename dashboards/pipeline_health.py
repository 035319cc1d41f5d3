"""Pipeline health: whether collectors, bus, pipeline and watcher keep up, and what is lost on the way.

Collectors and pipelines are told apart by Prometheus' label `instance`; what the bus carries tells the node.
"""

from __future__ import annotations

from typing import Final

from grafanalib.core import Dashboard, Panel

from . import links
from .frame import frame
from .layout import Section, line, section
from .panels import AMBER, RED, Query, Value, stat, table, timeseries
from .queries import age, extreme, increase, or_zero, rate, total, zero_while
from .rows import pipeline
from .variables import datasource

_PIPELINE: Final = "flowatlas_build_info"
_COLLECTOR: Final = "flowatlas_collector_build_info"
_WATCHER: Final = "flowatlas_watcher_current"
"""There wherever each runs, so that what has no series yet reads 0 there and nothing elsewhere."""
_LOST: Final = "flowatlas_collector_lost_rows_total"
_BY: Final = ("instance",)


def dashboard() -> Dashboard:
    """The dashboard, as grafanalib has it."""
    return frame(
        uid="flowatlas-pipeline",
        title="Flowatlas / Pipeline health",
        description="Whether collectors, bus, pipeline and watcher keep up, and what is lost on the way.",
        variables=[datasource()],
        sections=[
            _key_figures(),
            pipeline("Pipeline"),
            _arrival(),
            _collectors(),
            _kernel(),
            _missed(),
            _state(),
            _watcher(),
            _versions(),
        ],
    )


def _key_figures() -> Section:
    return section(
        "",
        line(
            4,
            stat(
                "Rows a second",
                "Rows of all tables that pipelines apply.",
                "rowsps",
                rate("flowatlas_pipeline_rows_total"),
            ),
            stat(
                "Messages waiting",
                "Messages that the bus holds and that the pipeline has not read.",
                "short",
                zero_while(_PIPELINE, total("flowatlas_bus_lag_messages")),
                {100: AMBER, 1000: RED},
            ),
            stat(
                "Oldest node",
                "How long ago the newest observation of the node was made that has been silent longest.",
                "s",
                f"max({age('flowatlas_pipeline_last_observation_timestamp_seconds', by=('node',))})",
                {60: AMBER, 120: RED},
            ),
            stat(
                "Rows lost",
                "Rows over the time shown that collectors could not bring to the bus.",
                "short",
                zero_while(_COLLECTOR, increase(_LOST)),
                {1: RED},
            ),
            stat(
                "Batches missing",
                "Batches over the time shown that nodes numbered and that did not arrive.",
                "short",
                zero_while(_PIPELINE, increase("flowatlas_pipeline_missing_batches_total")),
                {1: RED},
            ),
            stat(
                "Not attributed",
                "The part of all bytes since the pipeline started whose ends are not known.",
                "percentunit",
                extreme("max", "flowatlas_unattributed_bytes_ratio"),
                {0.01: AMBER, 0.05: RED},
            ),
        ),
    )


def _arrival() -> Section:
    by = ("node",)
    rows = increase("flowatlas_pipeline_rows_total", by=by)
    return section(
        "Bus",
        line(
            7,
            timeseries(
                "Messages waiting, by topic",
                "Messages (segments of a directory) that the bus held and the pipeline had not read when it last read.",
                "short",
                Query(total("flowatlas_bus_lag_messages", by=("topic", "instance")), "{{topic}} {{instance}}"),
                thresholds={1000: RED},
            ),
            timeseries(
                "Batches applied, by node",
                "Batches a second of all tables.",
                "ops",
                Query(rate("flowatlas_pipeline_batches_total", by=("node",)), "{{node}}"),
                stacked=True,
            ),
            timeseries(
                "Rows sent and applied",
                "Rows a second that collectors sent, and that pipelines applied; apart for long, the bus fills up.",
                "rowsps",
                Query(rate("flowatlas_collector_rows_total"), "sent by collectors"),
                Query(rate("flowatlas_pipeline_rows_total"), "applied"),
            ),
        ),
        line(
            7,
            table(
                "Nodes",
                "The 100 nodes of which most was applied over the time shown, and what of theirs is missing or came "
                "twice.",
                {"node": "Node"},
                [
                    Value("Rows", "short", rows),
                    Value("Batches", "short", increase("flowatlas_pipeline_batches_total", by=by)),
                    *(
                        Value(heading, "short", or_zero(increase(f"flowatlas_pipeline_{what}_total", by=by), rows))
                        for heading, what in (("Missing", "missing_batches"), ("Repeated", "duplicate_batches"))
                    ),
                    Value("Age", "s", age("flowatlas_pipeline_last_observation_timestamp_seconds", by=by)),
                ],
                rows=100,
                links={"Node": links.node()},
            ),
        ),
    )


def _collectors() -> Section:
    rows = increase("flowatlas_collector_rows_total", by=_BY)
    source = total("flowatlas_collector_source_info", by=(*_BY, "source", "reason"))
    followed = total("flowatlas_collector_tracked_flows", by=_BY)
    return section(
        "Collectors",
        line(
            8,
            table(
                "Collectors",
                "The 100 collectors that sent most rows over the time shown. Empty where Prometheus does not scrape "
                "them.",
                {"instance": "Collector"},
                [
                    Value("Rows", "short", rows),
                    Value("Batches", "short", increase("flowatlas_collector_batches_total", by=_BY)),
                    Value("Rows lost", "short", or_zero(increase(_LOST, by=_BY), rows)),
                    Value(
                        "Bytes lost", "bytes", or_zero(increase("flowatlas_collector_lost_bytes_total", by=_BY), rows)
                    ),
                    Value("Flows followed", "short", followed),
                    Value("Spooled", "bytes", or_zero(total("flowatlas_collector_spool_bytes", by=_BY), rows)),
                ],
                rows=100,
            ),
            table(
                "Where flows come from",
                "The source that each collector has its flows from, and why it has no better one.",
                {"instance": "Collector", "source": "Source", "reason": "Why no better one"},
                [
                    Value("In use", "short", source),
                    Value("Flows followed", "short", f"{source} * on (instance) group_left () {followed}"),
                ],
                rows=100,
            ),
        ),
    )


def _kernel() -> Section:
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
                zero_while(_COLLECTOR, total("flowatlas_collector_attached_interfaces", by=_BY), "instance"),
            ),
            timeseries(
                "Hooks",
                "On how many collectors the kernel has the hooks that tell of sockets, drops, names and heads.",
                "short",
                Query(
                    zero_while(_COLLECTOR, total("flowatlas_collector_hook_info", by=("hook", "reason")), "hook"),
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
        ),
    )


def _of_collectors(title: str, description: str, unit: str, expression: str) -> Panel:
    return timeseries(title, description, unit, Query(expression, "{{instance}}"))


def _results(title: str, description: str, metric: str) -> Panel:
    return timeseries(
        title,
        description,
        "ops",
        Query(zero_while(_COLLECTOR, rate(metric, by=("result",)), "result"), "{{result}}"),
        stacked=True,
    )


def _missed() -> Section:
    def reasons(metric: str) -> str:
        return zero_while(_COLLECTOR, rate(f"flowatlas_collector_{metric}_total", by=("reason",)), "reason")

    def events(metric: str) -> str:
        return zero_while(_COLLECTOR, rate(f"flowatlas_collector_{metric}_total"))

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
                "Times a second that conntrack's events overran, and messages that could not be decoded.",
                "ops",
                Query(events("netlink_overruns"), "overruns"),
                Query(reasons("malformed_messages"), "malformed: {{reason}}"),
            ),
            timeseries(
                "Spool",
                "Bytes of batches that wait on disk for the bus; it fills while the bus is away.",
                "bytes",
                Query(
                    zero_while(_COLLECTOR, total("flowatlas_collector_spool_bytes", by=_BY), "instance"), "{{instance}}"
                ),
            ),
        ),
        line(
            6,
            timeseries(
                "Spools that the disk refuses",
                "Collectors whose disk refuses batches, so that they are sent from memory or lost.",
                "short",
                Query(zero_while(_COLLECTOR, total("flowatlas_collector_spool_is_degraded")), "collectors"),
            ),
            timeseries(
                "Damaged spool segments",
                "Segments a second that were damaged and deleted; their rows are lost.",
                "ops",
                Query(events("spool_corrupt_segments"), "segments"),
            ),
        ),
    )


def _state() -> Section:
    objects = total("flowatlas_state_objects", by=("kind",))
    return section(
        "What is known of the cluster",
        line(
            8,
            timeseries(
                "Age of the cluster's state",
                "Since when the state is not known. No data where the state is read from manifests.",
                "s",
                Query(extreme("max", "flowatlas_state_age_seconds", by=_BY), "{{instance}}"),
                thresholds={60: RED},
            ),
            timeseries(
                "Rows that wait for state",
                "Rows of flows and DNS held until the state tells of their time, and rows a second judged without.",
                "short",
                Query(zero_while(_PIPELINE, total("flowatlas_state_held_rows")), "waiting"),
                Query(zero_while(_PIPELINE, rate("flowatlas_state_late_rows_total")), "judged without, a second"),
            ),
            timeseries(
                "Geo look-ups refused",
                "Look-ups a second that the bytes of a geo database did not allow.",
                "ops",
                Query(zero_while(_PIPELINE, rate("flowatlas_pipeline_geo_failures_total")), "look-ups"),
            ),
            table(
                "Objects known",
                "Objects of the cluster by kind, and those that could not be understood.",
                {"kind": "Kind"},
                [
                    Value("Objects", "short", objects),
                    Value("Refused", "short", or_zero(total("flowatlas_state_refused_objects", by=("kind",)), objects)),
                ],
                rows=50,
            ),
        ),
    )


def _watcher() -> Section:
    def reasons(what: str) -> str:
        return zero_while(_WATCHER, rate(f"flowatlas_watcher_{what}_total", by=("reason",)), "reason")

    current = extreme("min", "flowatlas_watcher_current", by=("kind",))
    return section(
        "Watcher (no data where none is scraped)",
        line(
            7,
            timeseries(
                "Age of what the watcher has sent",
                "How long ago the watcher last marked that every change was sent.",
                "s",
                Query(age("flowatlas_watcher_last_mark_timestamp_seconds", by=_BY), "{{instance}}"),
                thresholds={60: RED},
            ),
            timeseries(
                "Rows sent and lost",
                "Rows a second sent to the bus, and lost, each made good by sending all objects again.",
                "rowsps",
                Query(zero_while(_WATCHER, rate("flowatlas_watcher_rows_total")), "sent"),
                Query(reasons("lost_rows"), "lost: {{reason}}"),
            ),
            timeseries(
                "Batches and epochs",
                "Batches a second sent, and times that all objects were sent again, by reason.",
                "ops",
                Query(zero_while(_WATCHER, rate("flowatlas_watcher_batches_total")), "batches"),
                Query(reasons("epochs"), "all objects: {{reason}}"),
            ),
            timeseries(
                "API server",
                "Lists of all objects of a kind, and questions without an answer, a second, by reason.",
                "ops",
                Query(reasons("relists"), "list: {{reason}}"),
                Query(reasons("errors"), "error: {{reason}}"),
            ),
        ),
        line(
            8,
            table(
                "Kinds watched",
                "Whether a watch stands (1), what there is of each kind, and what became of it over the time shown.",
                {"kind": "Kind"},
                [
                    Value("Watched", "short", current),
                    Value("Objects", "short", or_zero(total("flowatlas_watcher_objects", by=("kind",)), current)),
                    *(
                        Value(
                            heading,
                            "short",
                            or_zero(increase(f"flowatlas_watcher_{what}_total", by=("kind",)), current),
                        )
                        for heading, what in (
                            ("Changes", "changes"),
                            ("Lists", "relists"),
                            ("Errors", "errors"),
                            ("Malformed", "malformed_objects"),
                        )
                    ),
                ],
                rows=100,
            ),
        ),
    )


def _versions() -> Section:
    return section(
        "Versions",
        line(
            6,
            timeseries(
                "Versions in use",
                "How many pipelines and collectors run which version of Flowatlas and of Python.",
                "short",
                Query(total(_PIPELINE, by=("version", "python")), "pipeline {{version}}, Python {{python}}"),
                Query(
                    zero_while(_COLLECTOR, total(_COLLECTOR, by=("version", "python")), "version"),
                    "collector {{version}}, Python {{python}}",
                ),
            ),
        ),
    )
