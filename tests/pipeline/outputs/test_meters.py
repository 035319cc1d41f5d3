"""The pipeline's own metrics."""

from __future__ import annotations

import json
import time

from pipeline.bus.share import Share
from pipeline.catalog import METRICS
from pipeline.outputs.meters import STAGES, Meters


def values(meters: Meters, name: str) -> dict[tuple[str, ...], float]:
    samples = {s.metric.name: s for s in meters.samples(0)}[name]
    return dict(zip(samples.labels.rows(), samples.values.to_list(), strict=True))


def test_every_self_metric_of_the_catalogue_is_there() -> None:
    own = ("pipeline_", "state_", "build_", "bus_", "capture_to_metric_")
    prefixes = tuple(f"flowatlas_{prefix}" for prefix in own)
    wanted = {metric.name for metric in METRICS if metric.name.startswith(prefixes)}
    wanted -= {"flowatlas_pipeline_snapshot_failing"}  # whoever takes snapshots says so
    wanted = {name for name in wanted if not name.startswith("flowatlas_pipeline_worker_")}  # whoever has them says so
    meters = Meters(Share(0, 1))
    meters.watermark = 1
    meters.snapshot(at_s=1.0, took_s=0.01, size=1000)
    assert {samples.metric.name for samples in meters.samples(0)} == wanted


def test_what_was_missing_stays_counted_when_it_comes_late() -> None:
    """A counter must not fall, and a new gap counts again; what is absent now is a gauge."""
    meters = Meters()
    seen, absent = [], []
    for missing in (0, 3, 1, 1, 2):
        meters.missing({"a": missing})
        seen.append(values(meters, "flowatlas_pipeline_missing_batches_total")[("a",)])
        absent.append(values(meters, "flowatlas_pipeline_absent_batches")[("a",)])
    assert seen == [0, 3, 3, 3, 4]
    assert absent == [0, 3, 1, 1, 2]


def test_the_newest_observation_stands_and_an_empty_batch_has_none() -> None:
    meters = Meters()
    meters.applied("flows", ["a", "b"], [2, 0], [2_500_000_000, 0])
    meters.applied("flows", ["a"], [1], [1_000_000_000])
    assert values(meters, "flowatlas_pipeline_last_observation_timestamp_seconds") == {("a",): 2.5}
    assert values(meters, "flowatlas_pipeline_rows_total") == {("flows", "a"): 3, ("flows", "b"): 0}
    assert values(meters, "flowatlas_pipeline_batches_total") == {("flows", "a"): 2, ("flows", "b"): 1}


def test_every_node_that_a_batch_came_of_is_shown_whether_or_not_it_was_late() -> None:
    meters = Meters()
    meters.arrived(["a", "b", "a", "a"], [0, 3, 2, 0], [False, True, False, True])
    meters.arrived(["c", "b"], [0, 1], [False, False])
    assert values(meters, "flowatlas_pipeline_late_rows_total") == {("a",): 2, ("b",): 4, ("c",): 0}
    assert values(meters, "flowatlas_pipeline_skewed_batches_total") == {("a",): 1, ("b",): 1, ("c",): 0}


def test_stages_are_timed_also_when_they_fail() -> None:
    meters = Meters()
    try:
        with meters.stage("decode"):
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    seconds = values(meters, "flowatlas_pipeline_stage_seconds_total")
    assert set(seconds) == {(stage,) for stage in STAGES}
    assert seconds[("decode",)] > 0
    assert seconds[("attribute",)] == 0


def test_which_nodes_the_cluster_has_had_outlives_the_process() -> None:
    """As long as the next one has not been told of the cluster, they are those of before."""
    newest = "flowatlas_pipeline_last_observation_timestamp_seconds"
    meters, successor = Meters(), Meters()
    meters.applied("flows", ["a", "b", "c"], [1, 1, 1], [10**9] * 3)
    for nodes in ({"a", "b"}, {"b"}):
        meters.cluster = frozenset(nodes)
        meters.samples(0)
    successor.restore(json.loads(json.dumps(meters.state())))
    assert values(successor, newest).keys() == {("b",), ("c",)}
    successor.cluster = frozenset()
    assert values(successor, newest).keys() == {("c",)}


def test_what_is_counted_of_a_node_is_shown_for_an_hour_after_the_cluster_has_lost_it() -> None:
    """Nodes come and go, and each has a dozen series; one that comes back goes on where it was."""
    meters, now_ns = Meters(), time.time_ns()
    newest = [now_ns - 3_500 * 10**9, *[now_ns - 3_700 * 10**9] * 3]
    meters.applied("flows", ["lately", "gone", "silent", "bastion"], [1, 2, 3, 4], newest)
    meters.arrived(["lately", "gone"], [5, 6], [False, False])
    meters.missing({"lately": 0, "gone": 7})
    meters.duplicates = {"gone": 8}
    by_node = [metric.name for metric in METRICS if metric.labels[-1:] == ("node",)]

    def shown() -> set[str]:
        return {
            node
            for samples in meters.samples(0)
            if samples.metric.name in by_node
            for node in samples.labels["node"].to_list()
        }

    everyone = {"lately", "gone", "silent", "bastion"}
    meters.cluster = frozenset({"lately", "gone", "silent"})
    assert shown() == everyone
    meters.cluster = frozenset({"silent"})
    assert shown() == {"lately", "silent", "bastion"}
    assert values(meters, "flowatlas_pipeline_rows_total")[("flows", "lately")] == 1
    meters.cluster = frozenset({"gone", "silent"})
    assert shown() == everyone
    assert values(meters, "flowatlas_pipeline_missing_batches_total")[("gone",)] == 7
