"""What the engine counts and exposes of a small cluster's traffic."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from collector.schema import COUNTERS, DROPS, OUTCOMES
from pipeline.aggregate.families import families
from pipeline.bus import Message
from pipeline.catalog import METRICS
from pipeline.geo import Geo
from pipeline.inventory.policy_history import PolicyEpoch
from pipeline.inventory.spans import BEGINNING
from pipeline.prices import Prices
from pipeline.state import ClusterState
from tests.pipeline.attribution import dns_answers
from tests.pipeline.dns_cluster import dns_cluster
from tests.pipeline.engine_bench import (
    DATABASE,
    DATABASE_VIP,
    FRONT_A,
    FRONT_B,
    Bench,
    counters,
    policies,
    through_service,
)
from tests.pipeline.shipments import NOW, SECOND, batch, drop, flow, interface, message
from tests.pipeline.small_cluster import pod, small_cluster


def test_a_flow_is_named_and_counted_where_it_began_and_only_there() -> None:
    """Both nodes ship the connection; the source's node counts it, the other's row is an observer's."""
    bench = Bench([through_service(), through_service(node="node-b")])
    bench.drain()
    labels = ("source_workload", "destination_workload", "service", "service_port", "protocol", "flow_direction")
    key = ("front", "database", "database", "5432", "TCP")
    assert bench.values("flowatlas_flow_bytes_total", *labels) == {(*key, "request"): 1000, (*key, "reply"): 1000}
    assert bench.values("flowatlas_connections_total", *labels[:5]) == {key: 1}
    assert bench.values("flowatlas_observer_bytes_total", "node") == {("node-b",): 2000}


def test_a_batch_that_comes_again_is_not_applied_again() -> None:
    bench = Bench([through_service(0), through_service(0)], [through_service(0), through_service(3)])
    bench.drain()
    assert bench.values("flowatlas_connections_total") == {(): 2}
    assert bench.values("flowatlas_pipeline_duplicate_batches_total", "node") == {("node-a",): 2}
    assert bench.values("flowatlas_pipeline_missing_batches_total", "node") == {("node-a",): 2}


def test_names_follow_the_state_and_old_totals_keep_theirs() -> None:
    """The pod's address is another pod's in the next snapshot, where every id has moved."""
    bench = Bench([through_service(0)], [through_service(1)])
    bench.engine.step(0)
    bench.state = ClusterState(small_cluster(pod("aaa", "node-a", "10.0.1.9"), pod("front-1-x", "node-a", FRONT_A)), {})
    bench.drain()
    totals = bench.values("flowatlas_connections_total", "source_workload", "destination_workload")
    assert totals == {("front", "database"): 1, ("front-1-x", "database"): 1}


def test_interface_counters_of_known_pods_are_exposed_as_they_are() -> None:
    """An unknown pod's are counted as rows alone."""
    bench = Bench([counters(0, FRONT_A, "10.0.1.77"), counters(1, FRONT_A, scope=1)])
    bench.drain()
    received = bench.values("container_network_receive_bytes_total", "namespace", "pod", "interface", "node")
    assert received == {("shop", "front-1-x", "eth0", "node-a"): 100}
    of_node = bench.values("flowatlas_node_network_receive_bytes_total", "node", "interface", "scope")
    assert of_node == {("node-a", "eth0", "node"): 100}
    assert bench.values("flowatlas_pipeline_rows_total", "table", "node") == {("counters", "node-a"): 3}


def everything() -> Iterable[Message]:
    """Messages that together touch every metric of the pipeline."""
    refused = flow(FRONT_A, DATABASE_VIP, 5432, outcome=OUTCOMES.index("refused"))
    tunnel = flow("192.0.2.10", "192.0.2.11", 8472, protocol=17)
    unknown = flow(FRONT_A, "10.0.2.77", 80)
    seen = flow(FRONT_B, DATABASE, 5432)
    denied = flow(FRONT_A, FRONT_B, 80, outcome=OUTCOMES.index("closed"))
    yield message(batch("node-a", 0, [refused, tunnel, unknown, seen, denied]))
    yield message(batch("node-a", 0, []))
    yield message(batch("node-a", 2, []), value=b"")
    yield message(batch("node-a", 3, []))
    yield counters(0, FRONT_A)
    later = interface(
        FRONT_A, time=NOW + 20 * SECOND, receive_bytes=900, receive_packets=9, tcp_listen=1, tcp6_listen=2
    )
    yield message(batch("node-a", 1, [later], COUNTERS))
    yield counters(2, FRONT_A, scope=2)
    yield message(batch("node-a", 0, [drop(FRONT_A, DATABASE, 5432, "netfilter_drop")], DROPS))
    question = dns_answers.Answer("www.example.com", NOW // SECOND, client=FRONT_A, server="203.0.113.53")
    yield message(dns_answers.batch_of([question]))


def test_tcp_health_and_drops_are_told_by_the_ends() -> None:
    """A retransmit counts on whatever row it is; a round trip on the canonical one."""
    opened = flow(FRONT_A, DATABASE_VIP, 5432, backend=DATABASE, connect_us=200, srtt_us=90, retransmits=2)
    seen = flow(FRONT_A, DATABASE, 5432, srtt_us=70, retransmits=3)  # by the node of the answerer
    drops = [drop(FRONT_A, DATABASE, 5432, "netfilter_drop", 4), drop(FRONT_A, FRONT_B, 80, "no_socket")]
    shipped = (batch("node-a", 0, [opened]), batch("node-b", 0, [seen]), batch("node-a", 0, drops, DROPS))
    bench = Bench([message(one) for one in shipped])
    bench.drain()
    labels = ("source_namespace", "source_workload", "destination_namespace", "destination_workload")
    ends = ("shop", "front", "shop", "database")
    assert bench.values("flowatlas_tcp_retransmits_total", *labels) == {ends: 5}
    assert bench.values("flowatlas_drops_total", *labels, "reason") == {
        (*ends, "netfilter_drop"): 4,
        ("shop", "front", "shop", "front", "no_socket"): 1,
    }
    assert bench.values("flowatlas_dropped_bytes_total", *labels, "reason")[*ends, "netfilter_drop"] == 240
    connects = bench.values("flowatlas_tcp_connect_seconds_bucket", "service", "le")
    assert connects["database", "0.0001"] == 0
    assert connects["database", "0.00025"] == 1
    assert bench.values("flowatlas_tcp_rtt_seconds_sum", "service") == {("database",): pytest.approx(0.00009)}


def test_every_metric_of_the_catalogue_is_exposed_with_its_labels_and_no_other() -> None:
    bench = Bench(list(everything()))
    bench.state = replace(bench.state, snapshot=dns_cluster(), epochs=(PolicyEpoch(BEGINNING, policies()),))
    bench.state = replace(bench.state, known_until=NOW + 3600 * SECOND)
    bench.drain()
    exposed = {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(bench.publication.text().decode())
        for sample in family.samples
    }
    ours = (metric for metric in METRICS if metric.exposer == "pipeline")
    catalogue = {name: set(labels) for metric in ours for name, labels in metric.series.items()}
    told = (samples for family in families(Prices("USD", {}), Geo(())) for samples in family.samples())
    of_families = {name for samples in told for name in samples.metric.series}
    assert exposed.items() <= catalogue.items()
    only_where = ("pipeline_snapshot_", "pipeline_shares", "pipeline_worker_", "series_")
    rare = {name for name in catalogue if name.removeprefix("flowatlas_").startswith(only_where)}
    # which have series only where there is what they are about
    assert catalogue.keys() - exposed.keys() <= of_families | rare


@pytest.mark.prometheus
def test_promtool_has_nothing_to_say_about_a_full_run() -> None:
    bench = Bench(list(everything()))
    bench.drain()
    promtool = shutil.which("promtool")
    assert promtool is not None
    done = subprocess.run(
        [promtool, "check", "metrics"], input=bench.publication.text(), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_series_metric_counts_what_is_exposed() -> None:
    bench = Bench(list(everything()))
    bench.drain()
    lines = [line for line in bench.publication.text().splitlines() if not line.startswith(b"#")]
    own = ("pipeline_", "state_", "build_", "bus_", "capture_to_metric_")
    traffic = [line for line in lines if not line.decode().startswith(tuple(f"flowatlas_{name}" for name in own))]
    assert bench.values("flowatlas_pipeline_series") == {(): len(traffic)}


def test_questions_to_dns_are_counted_and_wait_for_their_client_to_be_told() -> None:
    """The pod asks before the state tells of it; the row that only has another address counts nothing."""
    now_s = NOW // SECOND
    rows = [
        dns_answers.Answer("www.example.com", now_s, client="10.0.1.9"),
        dns_answers.Answer("www.example.com", now_s, client="10.0.1.9", address="203.0.113.8", is_first=False),
        dns_answers.Answer("database.shop.svc.cluster.local", now_s, client=FRONT_A),
    ]
    bench = Bench([message(dns_answers.batch_of(rows))], wait_s=30.0)
    bench.state = replace(bench.state, known_until=NOW - SECOND)
    bench.engine.step(0)
    bench.engine.publish()
    assert bench.values("flowatlas_dns_queries_total") == {}
    assert bench.values("flowatlas_state_held_rows") == {(): 2}
    late = small_cluster(pod("late", "node-a", "10.0.1.9"))
    bench.state = replace(bench.state, snapshot=late, known_until=NOW + 60 * SECOND)
    bench.drain()
    assert bench.values("flowatlas_dns_queries_total", "source_workload", "name_class") == {
        ("late", "outside"): 1,
        ("front", "service"): 1,
    }
    assert bench.values("flowatlas_dns_latency_seconds_count", "source_workload") == {("late",): 1, ("front",): 1}
    assert bench.reader.committed


def test_of_a_node_that_the_cluster_has_no_more_nobody_is_told_that_it_is_silent() -> None:
    """Nor by what it sent last and comes late; of what never was a node of the cluster it is told."""
    newest = "flowatlas_pipeline_last_observation_timestamp_seconds"
    nodes = ("node-a", "node-b", "bastion")
    late = message(batch("node-a", 1, [flow(FRONT_A, DATABASE, 5432, flow_id=9, time=time.time_ns())]))
    bench = Bench([message(batch(node, 0, [flow(FRONT_A, DATABASE, 5432)])) for node in nodes], [late])
    bench.engine.step(0)
    bench.engine.publish()
    assert bench.values(newest, "node").keys() == {(node,) for node in nodes}
    whole = bench.state.snapshot
    bench.state = replace(bench.state, snapshot=replace(whole, nodes=frozenset({"node-b"})))
    bench.drain()
    assert bench.values("flowatlas_pipeline_rows_total", "node")[("node-a",)] == 2
    assert bench.values(newest, "node").keys() == {("node-b",), ("bastion",)}
    bench.state = replace(bench.state, snapshot=whole)
    bench.drain()
    assert bench.values(newest, "node").keys() == {(node,) for node in nodes}
