"""Alerts on Flowatlas itself fire when and only when they should."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dashboards.promtool import ONE, Case, told

AGE = "flowatlas_state_age_seconds"
NEWEST = "flowatlas_pipeline_last_observation_timestamp_seconds"
ROWS = "flowatlas_pipeline_rows_total"
LOST_FLOWS = f'flowatlas_collector_lost_rows_total{{table="flows",reason="bus_full",{ONE}}}'
REPLACED = f'flowatlas_pipeline_worker_restarts_total{{worker="1",reason="stuck",{ONE}}}'
LAG = f'flowatlas_bus_lag_messages{{topic="flowatlas.flows.v1",{ONE}}}'
SHARES = "flowatlas_pipeline_shares"
LATE = f"flowatlas_state_late_rows_total{{{ONE}}}"
MISSING = 'flowatlas_pipeline_missing_batches_total{node="n1"}'
ABSENT = 'flowatlas_pipeline_absent_batches{node="n1"}'
QUARANTINED = 'flowatlas_pipeline_quarantined_batches_total{reason="schema"}'
GONE = 'flowatlas_bus_lost_messages_total{topic="flowatlas.flows.v1"}'
FOLDED = 'flowatlas_series_folded_total{family="flows/conversations"}'
REFUSED = 'flowatlas_state_refused_objects{kind="Ingress"}'
MALFORMED = 'flowatlas_watcher_malformed_objects_total{kind="Ingress"}'
FAILING = f"flowatlas_pipeline_snapshot_failing{{{ONE}}}"
MISSED = "flowatlas_collector_missed_packets_total"
OVERRUNS = f"flowatlas_collector_netlink_overruns_total{{{ONE}}}"
HEARD = {f'{NEWEST}{{node="heard",instance="b:1"}}': "0+60x60"}
DEGRADED = f"flowatlas_collector_spool_is_degraded{{{ONE}}}"


def covered(share: str, carried: str) -> dict[str, str]:
    pod = 'node="n1",namespace="shop",pod="cart-1"'
    counters = {f'container_network_{way}_bytes_total{{{pod},interface="eth0"}}' for way in ("receive", "transmit")}
    return {f"flowatlas_capture_coverage_ratio{{{pod}}}": share, **dict.fromkeys(sorted(counters), carried)}


LABELS = {
    "FlowatlasStateStale": {"instance": "a:1"},
    "FlowatlasCollectorSilent": {"node": "n1"},
    "FlowatlasNothingArrives": {},
    "FlowatlasLosses": {"instance": "a:1", "table": "flows", "reason": "bus_full"},
    "FlowatlasCaptureIncomplete": {"node": "n1", "namespace": "shop", "pod": "cart-1"},
    "FlowatlasPipelineDown": {},
    "FlowatlasShareUnread": {"job": "pipeline"},
    "FlowatlasSnapshotFailing": {"instance": "a:1"},
    "FlowatlasWorkerReplaced": {"instance": "a:1", "worker": "1", "reason": "stuck"},
    "FlowatlasBusLag": {"instance": "a:1", "topic": "flowatlas.flows.v1"},
    "FlowatlasLateRows": {"instance": "a:1"},
    "FlowatlasBatchesMissing": {"node": "n1"},
    "FlowatlasMessagesLost": {"topic": "flowatlas.flows.v1"},
    "FlowatlasSeriesFolded": {"family": "flows/conversations"},
    "FlowatlasBatchesQuarantined": {"reason": "schema"},
    "FlowatlasObjectsRefused": {"kind": "Ingress"},
    "FlowatlasPacketsMissed": {"instance": "a:1", "reason": "ring_full"},
    "FlowatlasConntrackOverruns": {"instance": "a:1"},
    "FlowatlasSpoolDegraded": {"instance": "a:1"},
}
CASES = [
    Case("FlowatlasStateStale", "the watcher is away", {f"{AGE}{{{ONE}}}": "1x10 61+60x40"}, 15, 1, "5m 1s"),
    Case("FlowatlasStateStale", "the watcher's clock is ahead", {f"{AGE}{{{ONE}}}": "1x10 -3599x40"}, 15, 1, "59m 59s"),
    Case("FlowatlasStateStale", "at the bound", {f"{AGE}{{{ONE}}}": "60x60"}, 15, 0),
    Case("FlowatlasStateStale", "back within the minute", {f"{AGE}{{{ONE}}}": "1x10 70 1x40"}, 12, 0),
    Case(
        "FlowatlasCollectorSilent",
        "stands still",
        {f'{NEWEST}{{node="n1"}}': "0+60x10 600x40", **HEARD},
        16,
        1,
        "6m 0s",
    ),
    Case(
        "FlowatlasCollectorSilent",
        "one pipeline has it",
        {
            f'{NEWEST}{{node="n1",instance="a:1"}}': "0x60",
            f'{NEWEST}{{node="n1",instance="b:1"}}': "0+60x60",
            **HEARD,
        },
        30,
        0,
    ),
    Case(
        "FlowatlasCollectorSilent",
        "two minutes are not more than two",
        {f'{NEWEST}{{node="n1"}}': "-120+60x60", **HEARD},
        30,
        0,
    ),
    Case(
        "FlowatlasCollectorSilent",
        "the watcher is no collector",
        {
            **HEARD,
            f'{NEWEST}{{node="cluster-watcher"}}': "0x60",
            f'{ROWS}{{table="state",node="cluster-watcher"}}': "9x60",
        },
        30,
        0,
    ),
    Case(
        "FlowatlasCollectorSilent",
        "a collector that shares the watcher's name",
        {
            f'{NEWEST}{{node="n1"}}': "0x60",
            f'{ROWS}{{table="state",node="n1"}}': "9x60",
            f'{ROWS}{{table="flows",node="n1"}}': "9x60",
            **HEARD,
        },
        30,
        1,
        "30m 0s",
    ),
    Case("FlowatlasCollectorSilent", "so are all others", {f'{NEWEST}{{node="n{i}"}}': "0x60" for i in (1, 2)}, 30, 0),
    Case(
        "FlowatlasCollectorSilent",
        "its pipeline stands still",
        {f'{NEWEST}{{node="n1",{ONE}}}': "0x60", FAILING: "1x60", **HEARD},
        30,
        0,
    ),
    Case(
        "FlowatlasCollectorSilent",
        "another pipeline stands still",
        {f'{NEWEST}{{node="n1",instance="b:1"}}': "0x60", FAILING: "1x60", **HEARD},
        30,
        1,
        "30m 0s",
    ),
    Case(
        "FlowatlasNothingArrives",
        "the bus is away",
        {f'{NEWEST}{{node="n{i}"}}': "0+60x10 600x40" for i in (1, 2)},
        17,
        1,
        "7m 0s",
    ),
    Case("FlowatlasNothingArrives", "one node is heard", {f'{NEWEST}{{node="n1"}}': "0x60", **HEARD}, 30, 0),
    Case(
        "FlowatlasNothingArrives",
        "back within five minutes",
        {f'{NEWEST}{{node="n1"}}': "0+60x10 600x3 840+60x40"},
        15,
        0,
    ),
    Case(
        "FlowatlasNothingArrives",
        "the watcher alone is left",
        {
            f'{NEWEST}{{node="cluster-watcher"}}': "0+60x60",
            f'{ROWS}{{table="state",node="cluster-watcher"}}': "9x60",
            f'{NEWEST}{{node="n1"}}': "0x60",
        },
        30,
        1,
        "30m 0s",
    ),
    Case(
        "FlowatlasNothingArrives",
        "the only pipeline stands still",
        {f"{NEWEST}{{{ONE}}}": "0x60", FAILING: "1x60"},
        30,
        0,
    ),
    Case("FlowatlasLosses", "the first ever", {LOST_FLOWS: "_x20 7x40"}, 23, 1),
    Case("FlowatlasLosses", "more", {LOST_FLOWS: "7x20 9x40"}, 25, 1),
    Case("FlowatlasLosses", "a new series that is 0", {LOST_FLOWS: "_x20 0x40"}, 23, 0),
    Case("FlowatlasLosses", "no more", {LOST_FLOWS: "7x60"}, 30, 0),
    Case(
        "FlowatlasCaptureIncomplete", "a share is missed", covered("1x10 0.97x50", carried="0+60000x60"), 25, 1, "97%"
    ),
    Case("FlowatlasCaptureIncomplete", "not for long", covered("1x10 0.97x5 1x45", carried="0+60000x60"), 25, 0),
    Case("FlowatlasCaptureIncomplete", "at the bound", covered("0.98x60", carried="0+60000x60"), 30, 0),
    Case("FlowatlasCaptureIncomplete", "of next to nothing", covered("0.5x60", carried="0+60x60"), 30, 0),
    Case("FlowatlasCaptureIncomplete", "more than all", covered("1.5x60", carried="0+60000x60"), 30, 0),
    Case("FlowatlasPipelineDown", "none was ever there", {"up": "1x20"}, 10, 1),
    Case("FlowatlasPipelineDown", "gone", {"flowatlas_pipeline_series": "5x10 stale"}, 17, 1),
    Case("FlowatlasPipelineDown", "a restart", {"flowatlas_pipeline_series": "5x10 stale _x2 0x20"}, 17, 0),
    Case("FlowatlasBusLag", "never less", {LAG: "0x5 1500x15 2000x20"}, 23, 1, "1.5k"),
    Case("FlowatlasBusLag", "now and then", {LAG: "2000x8 0 2000x8 0 2000x8 0 2000x8"}, 33, 0),
    Case("FlowatlasBusLag", "what an outage left, for less than ten minutes", {LAG: "_x10 9000x8 0x40"}, 18, 0),
    Case("FlowatlasBusLag", "what an outage left, for longer", {LAG: "_x10 9000x40"}, 22, 1, "9k"),
    Case("FlowatlasBusLag", "little", {LAG: "1000x60"}, 30, 0),
    Case("FlowatlasLateRows", "many", {LATE: "0x20 200x40"}, 25, 1, "200"),
    Case("FlowatlasLateRows", "a few", {LATE: "0x20 90x40"}, 25, 0),
    Case("FlowatlasBatchesMissing", "the first ever", {MISSING: "_x20 1x40", ABSENT: "0x20 1x40"}, 23, 1),
    Case("FlowatlasBatchesMissing", "one more", {MISSING: "1x20 2x40", ABSENT: "1x20 2x40"}, 25, 1),
    Case("FlowatlasBatchesMissing", "no more than there were", {MISSING: "1x60", ABSENT: "1x60"}, 30, 0),
    Case("FlowatlasBatchesMissing", "those that a spool had come late", {MISSING: "0x20 9x40", ABSENT: "0x60"}, 25, 0),
    Case("FlowatlasBatchesMissing", "so they do after a loss", {MISSING: "5x20 14x40", ABSENT: "5x60"}, 25, 0),
    Case(
        "FlowatlasShareUnread",
        "one of three is gone",
        {f'{SHARES}{{job="pipeline",share="{n}"}}': "3x60" if n else "3x10 stale" for n in range(3)},
        17,
        1,
        "1",
    ),
    Case(
        "FlowatlasShareUnread",
        "one is another's too",
        {f'{SHARES}{{job="pipeline",share="{n}",instance="{i}:1"}}': "2x60" for n in range(2) for i in "ab"[: 2 - n]},
        30,
        0,
    ),
    Case(
        "FlowatlasShareUnread",
        "a restart",
        {f'{SHARES}{{job="pipeline",share="{n}"}}': "2x60" if n else "2x10 stale _x3 2x40" for n in range(2)},
        30,
        0,
    ),
    Case("FlowatlasSnapshotFailing", "the disk is full", {FAILING: "0x10 1x40"}, 17, 1),
    Case("FlowatlasSnapshotFailing", "room within five minutes", {FAILING: "0x10 1x4 0x40"}, 15, 0),
    Case("FlowatlasMessagesLost", "the first ever", {GONE: "0x20 90x40"}, 23, 1),
    Case("FlowatlasMessagesLost", "no more than there were", {GONE: "90x60"}, 30, 0),
    Case("FlowatlasSeriesFolded", "the first ever", {FOLDED: "_x20 1x40"}, 23, 1),
    Case("FlowatlasSeriesFolded", "no more than there were", {FOLDED: "7x200"}, 150, 0),
    Case("FlowatlasBatchesQuarantined", "the first ever", {QUARANTINED: "_x20 1x40"}, 23, 1),
    Case("FlowatlasBatchesQuarantined", "no more than there were", {QUARANTINED: "1x60"}, 30, 0),
    Case("FlowatlasObjectsRefused", "one stays", {REFUSED: "1x60"}, 15, 1, "1"),
    Case("FlowatlasObjectsRefused", "the first that the watcher refuses", {MALFORMED: "_x20 1x60"}, 35, 1, "1"),
    Case("FlowatlasObjectsRefused", "the watcher refused it long ago", {MALFORMED: "1x120"}, 110, 0),
    Case("FlowatlasObjectsRefused", "mended at once", {REFUSED: "0x5 1x5 0x40"}, 16, 0),
    Case(
        "FlowatlasPacketsMissed", "the ring is full", {f'{MISSED}{{reason="ring_full",{ONE}}}': "0+20x60"}, 20, 1, "200"
    ),
    Case(
        "FlowatlasPacketsMissed",
        "at once, the first ever",
        {f'{MISSED}{{reason="ring_full",{ONE}}}': "_x20 50000x40"},
        25,
        1,
        "50k",
    ),
    Case("FlowatlasPacketsMissed", "long ago", {f'{MISSED}{{reason="table_full",{ONE}}}': "_x20 50000x60"}, 45, 0),
    Case("FlowatlasPacketsMissed", "a few", {f'{MISSED}{{reason="table_full",{ONE}}}': "0+9x60"}, 20, 0),
    Case("FlowatlasPacketsMissed", "what is in no flow", {f'{MISSED}{{reason="fragment",{ONE}}}': "0+99x60"}, 20, 0),
    Case("FlowatlasWorkerReplaced", "once", {REPLACED: "0x20 1x40"}, 25, 1),
    Case("FlowatlasWorkerReplaced", "before the first scrape of its parent", {REPLACED: "_x20 1x40"}, 25, 1),
    Case("FlowatlasWorkerReplaced", "long ago", {REPLACED: "0x20 1x60"}, 45, 0),
    Case("FlowatlasWorkerReplaced", "the parent itself began anew", {REPLACED: "3x20 0x40"}, 25, 0),
    Case("FlowatlasConntrackOverruns", "the first ever", {OVERRUNS: "0x20 1x40"}, 25, 1),
    Case("FlowatlasConntrackOverruns", "none", {OVERRUNS: "3x60"}, 25, 0),
    Case("FlowatlasSpoolDegraded", "for long", {DEGRADED: "0x5 1x40"}, 15, 1),
    Case("FlowatlasSpoolDegraded", "for a moment", {DEGRADED: "0x5 1x3 0x40"}, 15, 0),
]


@pytest.mark.prometheus
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_fires_when_it_should_and_only_then(case: Case, tmp_path: Path) -> None:
    assert told(case, LABELS[case.alert], tmp_path) == ""
