"""What the pipeline tells of itself and of the cluster's state."""

from __future__ import annotations

from typing import Final

from .metric import Metric

METRICS: Final = (
    Metric(
        "flowatlas_build_info",
        "gauge",
        "",
        ("version", "python"),
        "Always 1; the labels tell the versions of the pipeline and of its Python.",
    ),
    Metric(
        "flowatlas_bus_lag_messages",
        "gauge",
        "",
        ("topic",),
        "Messages (segments of a directory) that the bus held and that the pipeline had not read yet, when it last "
        "read; of its own partitions.",
    ),
    Metric(
        "flowatlas_bus_lost_messages_total",
        "counter",
        "",
        ("topic",),
        "Messages that Kafka had given up before they were read: kept too short, or deleted. Their batches are in "
        "flowatlas_pipeline_missing_batches_total too where batches before and after them came.",
    ),
    Metric("flowatlas_pipeline_batches_total", "counter", "", ("table", "node"), "Batches applied."),
    Metric(
        "flowatlas_pipeline_rows_total",
        "counter",
        "",
        ("table", "node"),
        "Rows applied. Interface rows of nodes, and of pods that the state does not know, are counted here alone.",
    ),
    Metric(
        "flowatlas_pipeline_quarantined_batches_total",
        "counter",
        "",
        ("reason",),
        "Batches set aside unread, by reason: headers, table, schema_version, truncated, magic, checksum, oversized, "
        "inflate, ipc, schema, rows, bytes, values, segment, node, unsigned, forged.",
    ),
    Metric(
        "flowatlas_pipeline_duplicate_batches_total",
        "counter",
        "",
        ("node",),
        "Batches that arrived again and were not applied again.",
    ),
    Metric(
        "flowatlas_pipeline_missing_batches_total",
        "counter",
        "",
        ("node",),
        "Batches that a node numbered and that were not there when later ones were; one that comes late stays counted.",
    ),
    Metric(
        "flowatlas_pipeline_absent_batches",
        "gauge",
        "",
        ("node",),
        "Batches that a node numbered and that have not come though later ones have; a late one is none any more.",
    ),
    Metric(
        "flowatlas_pipeline_stage_seconds_total",
        "counter",
        "seconds",
        ("stage",),
        "Processing time, by stage.",
    ),
    Metric(
        "flowatlas_pipeline_last_observation_timestamp_seconds",
        "gauge",
        "seconds",
        ("node",),
        "Time of the newest observation applied, by node. Not there of nodes that the cluster had and has no more.",
    ),
    Metric(
        "flowatlas_pipeline_geo_failures_total",
        "counter",
        "",
        (),
        "Look-ups of an address that the bytes of a MaxMind database did not allow.",
    ),
    Metric(
        "flowatlas_series_folded_total",
        "counter",
        "",
        ("family",),
        "Label sets that were counted under `other`, since there was no room for series of their own: each once from "
        "one start to the next, as far as 100,000 of a family are remembered.",
    ),
    Metric(
        "flowatlas_series_folded_by_namespace_total",
        "counter",
        "",
        ("namespace",),
        "The same by the namespace that they are of, empty where of none: of a thousand by name, the rest as `other`.",
    ),
    Metric("flowatlas_series_expired_total", "counter", "", (), "Label sets that went for not having grown for long."),
    Metric(
        "flowatlas_pipeline_shares",
        "gauge",
        "",
        ("share",),
        "Into how many fixed shares the bus's partitions are divided, of which this pipeline reads the one of that "
        "number, from 0. Not there where a group divides them.",
    ),
    Metric("flowatlas_pipeline_series", "gauge", "", (), "Series of flow and counter metrics exposed."),
    Metric(
        "flowatlas_pipeline_snapshot_timestamp_seconds",
        "gauge",
        "seconds",
        (),
        "When the last snapshot was taken. Not there without `pipeline.snapshot`; it stands still while nothing comes.",
    ),
    Metric("flowatlas_pipeline_snapshot_write_seconds", "gauge", "seconds", (), "How long the last snapshot took."),
    Metric("flowatlas_pipeline_snapshot_bytes", "gauge", "bytes", (), "The size of the last snapshot."),
    Metric(
        "flowatlas_pipeline_snapshot_refused_total",
        "counter",
        "",
        (),
        "Snapshots that were damaged when they were to be taken up, so that the one before it was.",
    ),
    Metric(
        "flowatlas_pipeline_snapshot_misfit_rows_total",
        "counter",
        "",
        ("part",),
        "Rows of a snapshot that had other labels or columns than those of today, by part: folded into what is left of "
        "their labels, or dropped where nothing fits.",
    ),
    Metric(
        "flowatlas_pipeline_worker_restarts_total",
        "counter",
        "",
        ("worker", "reason"),
        "Times that a worker of `pipeline.workers` was replaced, by reason: exited (it ended, or was killed), stuck "
        "(its /healthz said no, or nothing, for a minute, so its parent killed it). Not there without workers.",
    ),
    Metric(
        "flowatlas_pipeline_worker_answer_age_seconds",
        "gauge",
        "seconds",
        ("worker",),
        "How old the numbers of a worker are: 0 where it gave them for this scrape, else the time since it did; those "
        "of who is silent for five minutes are left out. Not there without workers.",
    ),
    Metric("flowatlas_state_objects", "gauge", "", ("kind",), "Kubernetes objects known, by kind."),
    Metric(
        "flowatlas_state_refused_objects",
        "gauge",
        "",
        ("kind",),
        "Kubernetes objects that could not be understood, by kind; the log names the file, document and field.",
    ),
    Metric(
        "flowatlas_state_age_seconds",
        "gauge",
        "seconds",
        (),
        "Time since when the cluster's state is not known yet; grows while the watcher is away. Not there where the "
        "state is manifests.",
    ),
    Metric(
        "flowatlas_state_held_rows",
        "gauge",
        "",
        (),
        "Rows of flows and DNS that wait for the cluster's state to tell of their time.",
    ),
    Metric(
        "flowatlas_state_late_rows_total",
        "counter",
        "",
        (),
        "Rows of flows and DNS that had waited for `state_wait_s` and were judged by what was known till then.",
    ),
)
