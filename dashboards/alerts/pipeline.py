"""Alerts on Flowatlas itself: what is away, late, lost or refused."""

from __future__ import annotations

from typing import Final

from ..queries import select
from .alert import Alert, events

_NEWEST: Final = (
    "max by (node, job, instance) (flowatlas_pipeline_last_observation_timestamp_seconds)"
    " unless on (job, instance) max by (job, instance) (flowatlas_pipeline_snapshot_failing) == 1"
)
"""Of a pipeline that cannot keep what it counts it stands still, whatever its nodes send: FlowatlasSnapshotFailing."""
_WATCHERS: Final = (
    '(flowatlas_pipeline_rows_total{table="state"} unless on (node) flowatlas_pipeline_rows_total{table!="state"})'
)
"""Names on the bus that tell of the cluster and of no traffic: FlowatlasStateStale is theirs."""
_AGE: Final = f"time() - (max by (node) ({_NEWEST}) unless on (node) {_WATCHERS})"
_SILENT_S: Final = 120

_ABSENT: Final = "max by (node) (flowatlas_pipeline_absent_batches)"
_ABSENT_BEFORE: Final = "max by (node) (flowatlas_pipeline_absent_batches offset 10m)"

_BYTES: Final = [select(f"container_network_{way}_bytes_total") for way in ("receive", "transmit")]
_CARRIED: Final = f"sum by (node, namespace, pod) ({' + '.join(f'rate({counter}[10m])' for counter in _BYTES)})"

ALERTS: Final = (
    Alert(
        "FlowatlasStateStale",
        "flowatlas-pipeline",
        "abs(flowatlas_state_age_seconds) > 60",
        "1m",
        "warning",
        "The cluster's state is {{ $value | humanizeDuration }} old, or ahead",
        "The pipeline {{ $labels.instance }} has not been told the cluster's state for "
        "{{ $value | humanizeDuration }}, or is told it by a clock that is so much ahead; flows are judged by what was "
        "known before, or by what came later.",
    ),
    Alert(
        "FlowatlasCollectorSilent",
        "flowatlas-pipeline",
        f"{_AGE} > {_SILENT_S} and on () min({_AGE}) <= {_SILENT_S}",
        "1m",
        "warning",
        "Nothing from node {{ $labels.node }} for {{ $value | humanizeDuration }}",
        "The newest observation of node {{ $labels.node }} is {{ $value | humanizeDuration }} old: its traffic is not "
        "counted, or not yet.",
    ),
    Alert(
        "FlowatlasNothingArrives",
        "flowatlas-pipeline",
        f"min({_AGE}) > {_SILENT_S}",
        "3m",
        "critical",
        "Nothing from any node for {{ $value | humanizeDuration }}",
        "The newest observation of any node is {{ $value | humanizeDuration }} old, although pipelines are scraped: no "
        "traffic is counted, or not yet. What collectors cannot ship waits in their spools, and is lost once these are "
        "full.",
    ),
    Alert(
        "FlowatlasLosses",
        "flowatlas-pipeline",
        events("flowatlas_collector_lost_rows_total", "10m"),
        "1m",
        "warning",
        "Rows of table {{ $labels.table }} lost at {{ $labels.instance }}: {{ $labels.reason }}",
        "Within the last 10 minutes the collector {{ $labels.instance }} lost rows of table {{ $labels.table }} with "
        "reason {{ $labels.reason }}: metrics and history lack them.",
    ),
    Alert(
        "FlowatlasCaptureIncomplete",
        "flowatlas-pipeline",
        f"flowatlas_capture_coverage_ratio < 0.98 and on (node, namespace, pod) {_CARRIED} > 1000",
        "10m",
        "warning",
        "Only {{ $value | humanizePercentage }} of the traffic of {{ $labels.namespace }}/{{ $labels.pod }} is in "
        "flows",
        "For more than 10 minutes flows have told of {{ $value | humanizePercentage }} of the bytes that the "
        "interfaces of {{ $labels.namespace }}/{{ $labels.pod }} on node {{ $labels.node }} carried.",
    ),
    Alert(
        "FlowatlasPipelineDown",
        "flowatlas-pipeline",
        "absent(flowatlas_pipeline_series)",
        "5m",
        "critical",
        "No pipeline is scraped",
        "For more than 5 minutes Prometheus has had no metrics of a pipeline: nothing is told of the traffic.",
    ),
    Alert(
        "FlowatlasShareUnread",
        "flowatlas-pipeline",
        "max by (job) (flowatlas_pipeline_shares)"
        " - count by (job) (count by (job, share) (flowatlas_pipeline_shares)) > 0",
        "5m",
        "critical",
        "Fixed shares of the bus's partitions that no pipeline reads: {{ $value | humanize }}",
        "For more than 5 minutes Prometheus has had no metrics of pipelines with as many of the fixed shares of the "
        "partitions ({{ $value | humanize }}): nothing is told of the nodes in them, and what they ship waits on the "
        "bus.",
    ),
    Alert(
        "FlowatlasSnapshotFailing",
        "flowatlas-pipeline",
        "max by (instance) (flowatlas_pipeline_snapshot_failing) > 0",
        "5m",
        "critical",
        "{{ $labels.instance }} cannot keep what it counts: all its metrics stand still",
        "For more than 5 minutes the pipeline {{ $labels.instance }} has not been able to write its snapshot, or the "
        "history that belongs to it: it shows what it last kept, and nothing else that it says is of now.",
    ),
    Alert(
        "FlowatlasWorkerReplaced",
        "flowatlas-pipeline",
        events("flowatlas_pipeline_worker_restarts_total", "15m"),
        "1m",
        "warning",
        "Worker {{ $labels.worker }} of {{ $labels.instance }} was replaced: {{ $labels.reason }}",
        "Within the last 15 minutes worker {{ $labels.worker }} of the pipeline {{ $labels.instance }} had to be "
        "started again with reason {{ $labels.reason }}: what it read was counted late, and anew where no snapshots "
        "are kept.",
    ),
    Alert(
        "FlowatlasBusLag",
        "flowatlas-pipeline",
        "min_over_time(flowatlas_bus_lag_messages[5m]) > 1000",
        "10m",
        "warning",
        "{{ $labels.instance }} is behind: messages wait in {{ $labels.topic }}",
        "For more than 10 minutes {{ $value | humanize }} messages or more of topic {{ $labels.topic }} have waited "
        "for the pipeline {{ $labels.instance }}: metrics and history are late.",
    ),
    Alert(
        "FlowatlasLateRows",
        "flowatlas-pipeline",
        "increase(flowatlas_state_late_rows_total[10m]) > 100",
        "1m",
        "warning",
        "{{ $value | humanize }} rows judged before the cluster's state was known",
        "Within the last 10 minutes the pipeline {{ $labels.instance }} judged {{ $value | humanize }} rows of flows "
        "or DNS by what it had known before, since the cluster's state did not come in time.",
    ),
    Alert(
        "FlowatlasBatchesMissing",
        "flowatlas-pipeline",
        f"({events('flowatlas_pipeline_missing_batches_total', '10m', by='node')})"
        f" and on (node) {_ABSENT} > ({_ABSENT_BEFORE} or 0 * {_ABSENT})",
        "1m",
        "warning",
        "Batches of node {{ $labels.node }} are missing",
        "Within the last 10 minutes later batches of node {{ $labels.node }} came while earlier ones did not: what "
        "they held is not counted, or not yet.",
    ),
    Alert(
        "FlowatlasMessagesLost",
        "flowatlas-pipeline",
        events("flowatlas_bus_lost_messages_total", "10m", by="topic"),
        "1m",
        "warning",
        "Kafka gave up messages of {{ $labels.topic }} before they were read",
        "Within the last 10 minutes a pipeline came to messages of {{ $labels.topic }} that Kafka had deleted before "
        "they were read: metrics and history lack them.",
    ),
    Alert(
        "FlowatlasSeriesFolded",
        "flowatlas-pipeline",
        events("flowatlas_series_folded_total", "1h", by="family"),
        "1m",
        "info",
        "No room for more series of {{ $labels.family }}",
        "Within the last hour label sets of {{ $labels.family }} were counted under `other`, since the pipeline's "
        "limit of series is reached: sums are right, and detail is missing.",
    ),
    Alert(
        "FlowatlasBatchesQuarantined",
        "flowatlas-pipeline",
        events("flowatlas_pipeline_quarantined_batches_total", "10m", by="reason"),
        "1m",
        "warning",
        "Batches cannot be read: {{ $labels.reason }}",
        "Within the last 10 minutes batches were set aside unread with reason {{ $labels.reason }}: what they held is "
        "not counted.",
    ),
    Alert(
        "FlowatlasObjectsRefused",
        "flowatlas-pipeline",
        "max by (kind) (flowatlas_state_refused_objects) > 0"
        f" or {events('flowatlas_watcher_malformed_objects_total', '1h', by='kind')}",
        "10m",
        "warning",
        "Objects of kind {{ $labels.kind }} are not understood",
        "For more than 10 minutes {{ $value | humanize }} objects of kind {{ $labels.kind }} have not been understood, "
        "by the pipeline or within the last hour by the watcher: traffic is judged without them.",
    ),
    Alert(
        "FlowatlasPacketsMissed",
        "flowatlas-pipeline",
        events('flowatlas_collector_missed_packets_total{reason=~"table_full|ring_full"}', "10m", above=100),
        "1m",
        "warning",
        "Packets in no flow at {{ $labels.instance }}: {{ $labels.reason }}",
        "Within the last 10 minutes the collector {{ $labels.instance }} saw {{ $value | humanize }} packets that are "
        "in no flow, with reason {{ $labels.reason }}.",
    ),
    Alert(
        "FlowatlasConntrackOverruns",
        "flowatlas-pipeline",
        events("flowatlas_collector_netlink_overruns_total", "10m"),
        "1m",
        "warning",
        "The kernel dropped conntrack events at {{ $labels.instance }}",
        "Within the last 10 minutes the collector {{ $labels.instance }} did not read conntrack events in time, and "
        "the kernel dropped some: connections that began and ended meanwhile are in no flow.",
    ),
    Alert(
        "FlowatlasSpoolDegraded",
        "flowatlas-pipeline",
        "flowatlas_collector_spool_is_degraded == 1",
        "5m",
        "warning",
        "The disk refuses batches at {{ $labels.instance }}",
        "For more than 5 minutes the disk has refused the batches of collector {{ $labels.instance }}: they are sent "
        "from memory, and lost where the bus is away.",
    ),
)
