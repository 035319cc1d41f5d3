"""Pipeline health: whether collectors, bus, pipeline and watcher keep up, and what is lost on the way.

Collectors and pipelines are told apart by Prometheus' label `instance`; what the bus carries tells the node.
"""

from __future__ import annotations

from typing import Final

from grafanalib.core import Dashboard

from . import arrival_rows, collector_rows
from .advice import to_do
from .collector_rows import COLLECTOR, LOST
from .frame import frame
from .layout import Section, line, section
from .panels import AMBER, COUNT, RED, Query, Value, stat, table, timeseries
from .queries import age, extreme, increase, instances, or_zero, rate, total, zero_while
from .rows import pipeline
from .variables import datasource

_PIPELINE: Final = "flowatlas_build_info"
_WATCHER: Final = "flowatlas_watcher_current"
"""There wherever each runs, so that what has no series yet reads 0 there and nothing elsewhere."""
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
            arrival_rows.bus(),
            arrival_rows.delay(),
            collector_rows.collectors(),
            collector_rows.kernel(),
            collector_rows.missed(),
            _state(),
            _watcher(),
            arrival_rows.snapshots(),
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
                f"Messages that the bus holds and that the pipeline has not read. {to_do('FlowatlasBusLag')}",
                "short",
                zero_while(_PIPELINE, total("flowatlas_bus_lag_messages")),
                {100: AMBER, 1000: RED},
            ),
            stat(
                "Oldest node",
                "How long ago the newest observation of the node was made that has been silent longest."
                f" {to_do('FlowatlasCollectorSilent')}",
                "s",
                f"max({age('flowatlas_pipeline_last_observation_timestamp_seconds', by=('node',))})",
                {60: AMBER, 120: RED},
            ),
            stat(
                "Rows lost",
                f"Rows over the time shown that collectors could not bring to the bus. {to_do('FlowatlasLosses')}",
                "short",
                zero_while(COLLECTOR, increase(LOST)),
                {1: RED},
            ),
            stat(
                "Batches missing",
                "Batches over the time shown that nodes numbered and that were not there when later ones were; one that"
                " comes late, as from a spool, stays counted."
                f" {to_do('FlowatlasBatchesMissing')}",
                "short",
                zero_while(_PIPELINE, increase("flowatlas_pipeline_missing_batches_total")),
                {1: RED},
            ),
            stat(
                "Not attributed",
                "The part of all bytes since the pipeline started whose ends are not known."
                " What to do: flowatlas observe --attribution unknown lists such flows, of addresses that nothing "
                "held, as when the cluster's state is old.",
                "percentunit",
                extreme("max", "flowatlas_unattributed_bytes_ratio"),
                {0.01: AMBER, 0.05: RED},
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
                "Since when the state is not known. No data where the state is read from manifests."
                f" {to_do('FlowatlasStateStale')}",
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
                "Objects and look-ups refused",
                "Objects of the cluster that could not be understood, by kind, and look-ups that the bytes of a geo "
                "database did not allow.",
                "short",
                Query(
                    zero_while(_PIPELINE, total("flowatlas_state_refused_objects", by=("kind",)), "kind"),
                    "objects: {{kind}}",
                ),
                Query(zero_while(_PIPELINE, increase("flowatlas_pipeline_geo_failures_total")), "geo look-ups"),
            ),
            table(
                "Objects known",
                "Objects of the cluster by kind, and those that could not be understood.",
                {"kind": "Kind"},
                [
                    Value("Objects", COUNT, objects),
                    Value("Refused", COUNT, or_zero(total("flowatlas_state_refused_objects", by=("kind",)), objects)),
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
                f"How long ago the watcher last marked that every change was sent. {to_do('FlowatlasStateStale')}",
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
                    Value("Watched", COUNT, current),
                    Value("Objects", COUNT, or_zero(total("flowatlas_watcher_objects", by=("kind",)), current)),
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
                            ("Stale", "stale_events"),
                        )
                    ),
                ],
                rows=100,
            ),
        ),
    )


def _versions() -> Section:
    return section(
        "Versions, and workers replaced",
        line(
            6,
            timeseries(
                "Versions in use",
                "How many pipelines and collectors run which version of Flowatlas and of Python.",
                "short",
                Query(instances(_PIPELINE, by=("version", "python")), "pipeline {{version}}, Python {{python}}"),
                Query(
                    zero_while(COLLECTOR, instances(COLLECTOR, by=("version", "python")), "version"),
                    "collector {{version}}, Python {{python}}",
                ),
            ),
            timeseries(
                "Fixed shares that are read",
                "How many pipelines read which fixed share of the bus's partitions: one each, of all that there are. "
                f"None where a group divides them. {to_do('FlowatlasShareUnread')}",
                "short",
                Query(
                    zero_while(_PIPELINE, instances("flowatlas_pipeline_shares", by=("share",)), "share"), "{{share}}"
                ),
            ),
            timeseries(
                "Workers replaced",
                "Workers of a pipeline a second that ended, or were stuck, and were started again.",
                "ops",
                Query(
                    zero_while(_PIPELINE, rate("flowatlas_pipeline_worker_restarts_total", by=("reason",)), "reason"),
                    "{{reason}}",
                ),
            ),
            timeseries(
                "Age of workers' numbers",
                "How long ago a worker gave the numbers that are shown; nothing where it answers each scrape.",
                "s",
                Query(
                    zero_while(
                        _PIPELINE,
                        extreme("max", "flowatlas_pipeline_worker_answer_age_seconds", by=("worker",)),
                        "worker",
                    ),
                    "{{worker}}",
                ),
            ),
        ),
    )
