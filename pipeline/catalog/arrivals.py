"""How rows arrive: when, in which order, by whose clock, and whether they can be kept."""

from __future__ import annotations

from typing import Final

from .metric import Metric

METRICS: Final = (
    Metric(
        "flowatlas_pipeline_snapshot_failing",
        "gauge",
        "",
        (),
        "1 while a snapshot, or the history that belongs to it, cannot be written: all other metrics stand still then. "
        "Not there without `pipeline.snapshot`.",
    ),
    Metric(
        "flowatlas_capture_to_metric_seconds",
        "histogram",
        "seconds",
        (),
        "Time from the newest observation of a batch of flows until it is in what /metrics shows. Rows that wait for "
        "the cluster's state are there later than their batch.",
        buckets=(0.1, 0.25, 0.5, 0.75, 1.0, 1.2, 1.5, 1.75, 2.0, 2.5, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0),
    ),
    Metric(
        "flowatlas_pipeline_watermark_timestamp_seconds",
        "gauge",
        "seconds",
        (),
        "Event time up to which everything is taken to be here: of the partitions that are not idle, the least newest "
        "observation, less `lateness_s`.",
    ),
    Metric(
        "flowatlas_pipeline_late_rows_total",
        "counter",
        "",
        ("node",),
        "Rows that came when the watermark of their partition was beyond them. They count like others.",
    ),
    Metric(
        "flowatlas_pipeline_late_batches_total",
        "counter",
        "",
        ("node",),
        "Batches that came after ones that their node had numbered later.",
    ),
    Metric(
        "flowatlas_pipeline_skewed_batches_total",
        "counter",
        "",
        ("node",),
        "Batches with observations of a time that had not come yet by the pipeline's clock: the node's is ahead.",
    ),
)
