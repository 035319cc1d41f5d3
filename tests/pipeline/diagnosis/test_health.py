"""How Flowatlas itself goes."""

from __future__ import annotations

from pipeline.diagnosis.health import Health, Look, health
from tests.pipeline.diagnosis.broken_cluster import scrape, told

WELL = """flowatlas_pipeline_rows_total{table="flows",node="n1"} 100
flowatlas_pipeline_rows_total{table="counters",node="n1"} 7
flowatlas_pipeline_rows_total{table="state",node="watcher"} 9
flowatlas_pipeline_last_observation_timestamp_seconds{node="n1"} 995
flowatlas_pipeline_last_observation_timestamp_seconds{node="watcher"} 10
flowatlas_node_capture_coverage_ratio{node="n1"} 1
flowatlas_pipeline_series 42
flowatlas_state_objects{kind="Pod"} 3
flowatlas_pipeline_absent_batches{node="n1"} 0
"""
BUILD = 'flowatlas_collector_build_info{version="1"} 1\n'
COLLECTOR = BUILD + 'flowatlas_collector_source_info{source="ebpf",reason=""} 1\n'
LOST = 'flowatlas_collector_lost_rows_total{table="flows",reason="bus_full"} '


def judged(
    after: str, before: str | None = None, ready: bool = True, collectors: dict[str, Look | None] | None = None
) -> Health:
    look = Look(scrape(after if before is None else before), scrape(after))
    return health("http://p", ready, look, 2.0, 1000.0, collectors or {})


def test_a_pipeline_that_is_well_has_no_finding_and_a_watcher_is_no_node() -> None:
    found = judged(WELL, WELL.replace(" 100\n", " 80\n"))
    assert found.findings == []
    assert (found.rows_per_s, found.series, found.objects, found.state_age_s) == (10.0, 42, {"Pod": 3}, None)
    (node,) = found.nodes
    assert (node.node, node.age_s, node.rows, node.coverage) == ("n1", 5.0, 100, 1.0)


def test_not_ready_is_an_error() -> None:
    assert told(list(judged(WELL, ready=False).findings)) == [("error", "pipeline http://p")]


def test_a_silent_node_is_an_error() -> None:
    assert told(list(judged(WELL.replace(" 995", " 800")).findings)) == [("error", "node n1")]


def test_nodes_that_are_all_silent_are_one_finding_that_leads_to_the_bus() -> None:
    more = WELL + "".join(
        f'flowatlas_pipeline_rows_total{{table="flows",node="n{i}"}} 9\n'
        f'flowatlas_pipeline_last_observation_timestamp_seconds{{node="n{i}"}} 700\n'
        for i in (2, 3)
    )
    assert [each.subject for each in judged(more).findings] == ["node n2", "node n3"]
    (finding,) = judged(more.replace(" 995", " 800")).findings
    assert (finding.severity, finding.subject) == ("error", "pipeline http://p")
    assert finding.problem == "nothing newer than 200 s came from any of its 3 nodes"


def test_a_pipeline_that_cannot_keep_what_it_counts_is_at_fault_and_not_its_nodes() -> None:
    """What it shows is of when it last could: that says of no node that it is silent."""
    standing = WELL.replace(" 995", " 800") + "flowatlas_pipeline_snapshot_failing 1\n"
    (finding,) = judged(standing).findings
    assert (finding.check, finding.severity, finding.subject) == ("snapshot", "error", "pipeline http://p")
    assert told(list(judged(standing.replace("failing 1", "failing 0")).findings)) == [("error", "node n1")]


def test_messages_that_kafka_gave_up_and_workers_that_were_started_again_are_told() -> None:
    gone = 'flowatlas_bus_lost_messages_total{topic="flowatlas.flows.v1",partition="0"} '
    (finding,) = judged(WELL + gone + "7\n", WELL + gone + "3\n").findings
    assert (finding.severity, finding.problem) == (
        "error",
        "7 messages were deleted by Kafka before they were read: topic flowatlas.flows.v1",
    )
    (finding,) = judged(WELL + 'flowatlas_pipeline_worker_restarts_total{worker="1",reason="exited"} 2\n').findings
    assert (finding.severity, finding.problem) == (
        "warning",
        "2 times a worker was started again: worker 1, reason exited",
    )


def test_objects_that_are_not_understood_lead_to_what_the_log_says_of_their_kind() -> None:
    (finding,) = judged(WELL + 'flowatlas_state_refused_objects{kind="Service"} 1\n').findings
    assert finding.next is not None
    assert finding.next.endswith(" --tail=-1 | grep 'state: Service'")


def test_a_stale_state_is_an_error_that_says_how_many_rows_wait() -> None:
    (finding,) = judged(WELL + "flowatlas_state_age_seconds 90\nflowatlas_state_held_rows 12\n").findings
    assert (finding.severity, finding.evidence) == ("error", ("12 rows wait for it",))


def test_a_state_that_is_told_by_a_clock_that_is_ahead_is_an_error() -> None:
    (finding,) = judged(WELL + "flowatlas_state_age_seconds -3599\n").findings
    said = "the cluster's state is told by a clock that is 3599 s ahead"
    assert (finding.severity, finding.problem) == ("error", said)


def test_what_was_lost_before_is_a_warning_and_what_is_being_lost_an_error() -> None:
    quarantined = 'flowatlas_pipeline_quarantined_batches_total{reason="checksum"} '
    (finding,) = judged(WELL + quarantined + "3\n").findings
    assert (finding.severity, finding.problem) == ("warning", "3 batches were set aside unread: reason checksum")
    (finding,) = judged(WELL + quarantined + "3\n", WELL + quarantined + "1\n").findings
    assert (finding.severity, finding.evidence) == ("error", ("2 of them since the first look",))
    (finding,) = judged(WELL + quarantined + "3\n", WELL).findings
    assert finding.severity == "error"


def test_collectors_tell_their_source_and_losses_and_one_that_does_not_answer_is_an_error() -> None:
    why = COLLECTOR.replace('reason=""', 'reason="libbpf"').replace("ebpf", "conntrack")
    lossy = Look(scrape(why + LOST + "1\n"), scrape(why + LOST + "4\n"))
    found = judged(WELL, collectors={"http://a": lossy, "http://b": None})
    assert told(list(found.findings)) == [("error", "collector http://a"), ("error", "collector http://b")]
    (collector,) = found.collectors
    assert (collector.source, collector.why, collector.lost_rows) == ("conntrack", "libbpf", {"bus_full": 4})


def test_traffic_that_is_in_no_flow_leads_to_the_doctor_of_the_same_pipeline() -> None:
    found = judged(WELL.replace('ratio{node="n1"} 1', 'ratio{node="n1"} 0.912'))
    (finding,) = found.findings
    assert (finding.severity, finding.problem) == ("warning", "only 91.2% of its pods' bytes are in flows")
    assert finding.next == f"flowatlas doctor --server {found.server}"


def test_a_spool_that_the_disk_refuses_is_an_error_before_anything_is_lost() -> None:
    text = COLLECTOR + "flowatlas_collector_spool_is_degraded 1\n"
    (finding,) = judged(WELL, collectors={"http://a": Look(scrape(text), scrape(text))}).findings
    assert (finding.severity, finding.subject) == ("error", "collector http://a")
    assert finding.problem.startswith("the disk refuses its spool")


def test_readings_that_fail_are_told_by_table() -> None:
    failed = 'flowatlas_collector_failed_reads_total{table="counters"} '
    look = Look(scrape(COLLECTOR + failed + "1\n"), scrape(COLLECTOR + failed + "3\n"))
    (finding,) = judged(WELL, collectors={"http://a": look}).findings
    assert (finding.severity, finding.problem) == ("error", "3 readings of the node failed: table counters")


def test_what_is_no_collector_is_not_said_to_lack_a_source() -> None:
    """The pipeline's own page, say, or an exporter's of the same port."""
    other = Look(scrape(WELL), scrape(WELL))
    found = judged(WELL, collectors={"http://p": other})
    (finding,) = found.findings
    assert (finding.severity, finding.problem) == ("error", "what answers is no collector")
    assert not found.collectors
    (finding,) = judged(WELL, collectors={"http://a": Look(scrape(BUILD), scrape(BUILD))}).findings
    assert finding.problem == "it has no source of flows"


def test_a_hook_that_the_kernel_refuses_is_a_note() -> None:
    text = COLLECTOR + 'flowatlas_collector_hook_info{hook="drops",reason="kernel"} 0\n'
    (finding,) = judged(WELL, collectors={"http://a": Look(scrape(text), scrape(text))}).findings
    assert (finding.severity, finding.problem) == ("note", "the kernel refuses the hook drops")


LAG = 'flowatlas_bus_lag_messages{topic="flowatlas.flows.v2"} '


def test_what_waits_on_the_bus_is_told_by_topic_and_is_no_fault_while_it_is_little() -> None:
    found = judged(WELL + LAG + "12\n")
    assert (found.waiting, found.findings) == ({"flowatlas.flows.v2": 12}, [])


def test_a_pipeline_that_falls_behind_is_an_error_and_one_that_catches_up_a_warning() -> None:
    for before, after, severity in ((1500, 1600, "error"), (1500, 1500, "error"), (1600, 1500, "warning")):
        (finding,) = judged(WELL + f"{LAG}{after}\n", WELL + f"{LAG}{before}\n").findings
        assert (finding.severity, finding.evidence) == (severity, (f"{before} before",))


def test_a_moment_of_lag_is_none() -> None:
    assert judged(WELL + LAG + "1500\n", WELL + LAG + "3\n").findings == []
