"""The rows of Pipeline health that tell how rows arrive: what waits, how late and in which order, what is kept."""

from __future__ import annotations

from typing import Final

from . import links
from .advice import to_do
from .heatmap import heatmap
from .layout import Section, line, section
from .panels import COUNT, RED, Query, Value, table, timeseries
from .queries import ALL_SERIES, age, extreme, increase, or_zero, quantile, rate, total, zero_while

_PIPELINE: Final = "flowatlas_build_info"
_DELAY: Final = "flowatlas_capture_to_metric_seconds"
_BY: Final = ("instance",)


def bus() -> Section:
    """What waits, what is applied, of which node."""
    by = ("node",)
    rows = increase("flowatlas_pipeline_rows_total", by=by)
    return section(
        "Bus",
        line(
            7,
            timeseries(
                "Messages waiting, by topic",
                "Messages (segments of a directory) that the bus held and the pipeline had not read when it last read."
                f" {to_do('FlowatlasBusLag')} What Kafka deletes before it is read is gone a second."
                f" {to_do('FlowatlasMessagesLost')}",
                "short",
                Query(total("flowatlas_bus_lag_messages", by=("topic", "instance")), "{{topic}} {{instance}}"),
                Query(
                    zero_while(_PIPELINE, rate("flowatlas_bus_lost_messages_total", by=("topic",)), "topic"),
                    "{{topic}} gone a second",
                ),
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
                "The 100 nodes of which most was applied over the time shown, and what of theirs was missing when "
                "later batches came, came twice, or is absent until now.",
                {"node": "Node"},
                [
                    Value("Rows", COUNT, rows),
                    Value("Batches", COUNT, increase("flowatlas_pipeline_batches_total", by=by)),
                    *(
                        Value(heading, COUNT, or_zero(increase(f"flowatlas_pipeline_{what}_total", by=by), rows))
                        for heading, what in (("Missing", "missing_batches"), ("Repeated", "duplicate_batches"))
                    ),
                    Value("Missing now", COUNT, or_zero(total("flowatlas_pipeline_absent_batches", by=by), rows)),
                    Value("Age", "s", age("flowatlas_pipeline_last_observation_timestamp_seconds", by=by)),
                ],
                rows=100,
                links={"Node": links.node()},
            ),
        ),
    )


def delay() -> Section:
    """How long rows take from the kernel to the metrics, and which come out of order."""

    def by_node(metric: str) -> str:
        return zero_while(_PIPELINE, rate(f"flowatlas_pipeline_{metric}_total", by=("node",)), "node")

    return section(
        "From kernel to metrics",
        line(
            8,
            timeseries(
                "Time from capture to metric",
                "From the newest observation of a batch of flows until /metrics shows it. Half, 95 % and 99 % of "
                "batches take less."
                f" {to_do('FlowatlasBusLag')}",
                "s",
                *(Query(quantile(q, _DELAY), f"{q:.0%}") for q in (0.5, 0.95, 0.99)),
                thresholds={60: RED},
            ),
            heatmap("Batches by this time", "How many batches a second took how long.", "s", _DELAY, (ALL_SERIES,)),
            timeseries(
                "Age of the watermark",
                "How long ago the time lies up to which everything is taken to be here.",
                "s",
                Query(age("flowatlas_pipeline_watermark_timestamp_seconds", by=_BY), "{{instance}}"),
            ),
            timeseries(
                "Late, out of order, or ahead",
                "A second: rows behind the watermark, batches after later ones, batches of a clock that is ahead.",
                "ops",
                Query(by_node("late_rows"), "late rows: {{node}}"),
                Query(by_node("late_batches"), "late batches: {{node}}"),
                Query(by_node("skewed_batches"), "clock ahead: {{node}}"),
            ),
        ),
    )


def snapshots() -> Section:
    """Whether a pipeline that is killed could go on where it was."""
    refused = zero_while(_PIPELINE, rate("flowatlas_pipeline_snapshot_refused_total"))
    misfits = rate("flowatlas_pipeline_snapshot_misfit_rows_total", by=("part",))
    return section(
        "Snapshots (with pipeline.snapshot)",
        line(
            7,
            timeseries(
                "Age of the last snapshot",
                "How much would be read again after a kill. It grows while nothing comes.",
                "s",
                Query(age("flowatlas_pipeline_snapshot_timestamp_seconds", by=_BY), "{{instance}}"),
            ),
            timeseries(
                "Time to write a snapshot",
                "How long the last one took.",
                "s",
                Query(extreme("max", "flowatlas_pipeline_snapshot_write_seconds", by=_BY), "{{instance}}"),
            ),
            timeseries(
                "Size of the last snapshot",
                "Bytes on disk.",
                "bytes",
                Query(extreme("max", "flowatlas_pipeline_snapshot_bytes", by=_BY), "{{instance}}"),
            ),
            timeseries(
                "Snapshots failing, refused, or that do not fit",
                "failing: pipelines that cannot write one now, so that their metrics stand still. A second: damaged "
                "snapshots, passed over, and rows of one with other labels than today's.",
                "ops",
                Query(zero_while(_PIPELINE, total("flowatlas_pipeline_snapshot_failing")), "failing"),
                Query(refused, "refused"),
                Query(zero_while(_PIPELINE, misfits, "part"), "misfit: {{part}}"),
            ),
        ),
    )
