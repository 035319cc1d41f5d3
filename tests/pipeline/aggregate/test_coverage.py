"""The share of what pods' interfaces carried that is in the flows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.aggregate import coverage as coverage_module
from pipeline.aggregate.coverage import Coverage, _looks
from pipeline.inventory.endpoints import ENDPOINTS
from pipeline.inventory.snapshot import Snapshot

SECOND = 1_000_000_000
PODS = {"a": "node-1", "b": "node-1", "c": "node-2"}
ENDPOINT_ROWS = [
    {"kind": "External"},
    *({"kind": "Pod", "namespace": "shop", "name": name, "node": node} for name, node in PODS.items()),
    {"kind": "Node", "name": "node-1", "node": "node-1"},
]
IDS = {"outside": 0, "a": 1, "b": 2, "c": 3, "node-1": 4}
STATE = cast(
    "Snapshot",
    SimpleNamespace(
        endpoints=pl.DataFrame(
            [
                dict.fromkeys(ENDPOINTS, "") | {"is_collected": True} | row | {"id": number}
                for number, row in enumerate(ENDPOINT_ROWS)
            ],
            schema=ENDPOINTS,
        )
    ),
)


def flow(node: str, src: str, dst: str, at_s: float, size: int = 1000, reply: int = 500, **more: Any) -> dict[str, Any]:
    """One packet of `size` bytes with its IP header and one of `reply`."""
    counts = {"packets": 1, "bytes": size, "reply_packets": int(reply > 0), "reply_bytes": reply, "protocol": 6}
    return {"node": node, "src_id": IDS[src], "dst_id": IDS[dst], "time": int(at_s * SECOND), **counts, **more}


def flows(*rows: dict[str, Any]) -> pl.DataFrame:
    unsigned = dict.fromkeys(("packets", "bytes", "reply_packets", "reply_bytes"), pl.UInt64)
    return pl.DataFrame(
        rows,
        schema={
            "node": pl.Categorical,
            "src_id": pl.UInt32,
            "dst_id": pl.UInt32,
            "time": pl.Int64,
            **unsigned,
            "protocol": pl.UInt8,
        },
    )


def reading(pod: str, at_s: float, size: int, packets: int, netns: int = 1, interface: str = "eth0") -> dict[str, Any]:
    return {
        "interface": interface,
        "node": PODS[pod],
        "namespace": "shop",
        "pod": pod,
        "time": int(at_s * SECOND),
        "netns": netns,
        "receive_bytes": size // 2,
        "transmit_bytes": size - size // 2,
        "receive_packets": packets // 2,
        "transmit_packets": packets - packets // 2,
    }


def readings(*rows: dict[str, Any]) -> pl.DataFrame:
    unsigned = dict.fromkeys(
        (f"{way}_{what}" for what in ("bytes", "packets") for way in ("receive", "transmit")), pl.UInt64
    )
    text = dict.fromkeys(("interface", "node", "namespace", "pod"), pl.String)
    return pl.DataFrame(rows, schema={**text, "time": pl.Int64, "netns": pl.UInt64, **unsigned})


def shares(
    coverage: Coverage, metric: str = "flowatlas_capture_coverage_ratio", label: str = "pod"
) -> dict[str, float]:
    (samples,) = (samples for samples in coverage.samples() if samples.metric.name == metric)
    return dict(zip(samples.labels[label], samples.values, strict=True))


def test_all_bytes_with_link_headers_are_the_whole() -> None:
    coverage = Coverage()
    coverage.add_counters(readings(reading("a", 0, 0, 0), reading("b", 0, 7, 1)))
    coverage.add_flows(flows(flow("node-1", "a", "b", 5), flow("node-1", "a", "outside", 6)), STATE)
    coverage.add_counters(readings(reading("a", 20, 2 * 1528, 4), reading("b", 20, 7 + 1528, 3)))
    assert shares(coverage) == {"a": 1.0, "b": 1.0}
    assert shares(coverage, "flowatlas_node_capture_coverage_ratio", "node") == {"node-1": 1.0}


def test_what_was_missed_is_missing() -> None:
    coverage = Coverage()
    coverage.add_counters(readings(reading("a", 0, 0, 0), reading("b", 0, 0, 0)))
    coverage.add_flows(flows(flow("node-1", "a", "outside", 5)), STATE)
    coverage.add_counters(readings(reading("a", 20, 1528 * 4, 8), reading("b", 20, 1528, 2)))
    assert shares(coverage) == {"a": 0.25, "b": 0.0}
    assert shares(coverage, "flowatlas_node_capture_coverage_ratio", "node") == {"node-1": pytest.approx(0.2)}


def test_what_passes_within_a_pod_again_is_not_expected_again() -> None:
    """Docker in a pod, a VPN, a virtual machine: bridges and tunnels carry what eth0 carries."""
    for names in (("eth0", "docker0", "veth1"), ("net0",)):
        coverage = Coverage()
        coverage.add_counters(readings(*(reading("a", 0, 0, 0, interface=name) for name in names)))
        coverage.add_flows(flows(flow("node-1", "a", "outside", 5)), STATE)
        coverage.add_counters(readings(*(reading("a", 20, 1528, 2, interface=name) for name in names)))
        assert shares(coverage) == {"a": 1.0}


def test_arp_is_not_expected_and_small_segments_are() -> None:
    coverage = Coverage()
    coverage.add_counters(readings(reading("a", 0, 0, 0), reading("b", 0, 0, 0)))
    coverage.add_flows(flows(flow("node-1", "a", "b", 5)), STATE)
    coverage.add_counters(readings(reading("a", 20, 1528 + 30 * 42, 32), reading("b", 20, 1528 + 30 * 66, 32)))
    assert shares(coverage) == {"a": 1.0, "b": pytest.approx(1528 / (1528 + 30 * 66))}


def test_an_end_elsewhere_passes_no_interface_here() -> None:
    coverage = Coverage()
    coverage.add_counters(readings(*(reading(pod, 0, 0, 0) for pod in PODS)))
    both_nodes = [flow(node, "a", "c", 5) for node in ("node-1", "node-2")]
    coverage.add_flows(flows(*both_nodes, flow("node-1", "node-1", "a", 5)), STATE)
    coverage.add_counters(readings(reading("a", 20, 2 * 1528, 4), reading("c", 20, 1528, 2)))
    assert shares(coverage) == {"a": 1.0, "c": 1.0}


def test_what_was_dropped_on_the_way_is_not_expected_at_its_end() -> None:
    coverage = Coverage()
    coverage.add_counters(readings(reading("a", 0, 0, 0), reading("b", 0, 0, 0)))
    lost = flow("node-1", "a", "b", 5, reply=0)
    datagram = flow("node-1", "a", "b", 5, reply=0, protocol=17)
    coverage.add_flows(flows(lost, datagram), STATE)
    coverage.add_counters(readings(reading("a", 20, 2 * 1014, 2), reading("b", 20, 1014, 1)))
    assert shares(coverage) == {"a": 1.0, "b": 1.0}


def test_a_pod_that_calls_itself_passes_its_interface_twice() -> None:
    coverage = Coverage()
    coverage.add_counters(readings(reading("a", 0, 0, 0)))
    coverage.add_flows(flows(flow("node-1", "a", "a", 5)), STATE)
    coverage.add_counters(readings(reading("a", 20, 2 * 1528, 4)))
    assert shares(coverage) == {"a": 1.0}


def test_a_pod_of_the_same_name_begins_anew() -> None:
    coverage = Coverage()
    coverage.add_counters(readings(reading("a", 0, 0, 0), reading("a", 20, 99_999, 9)))
    coverage.add_counters(readings(reading("a", 30, 0, 0, netns=2)))
    coverage.add_flows(flows(flow("node-1", "a", "b", 35)), STATE)
    coverage.add_counters(readings(reading("a", 50, 1528, 2, netns=2)))
    assert shares(coverage) == {"a": 1.0}


def test_little_time_tells_nothing_and_the_gone_are_forgotten() -> None:
    coverage = Coverage(window_s=100, step_s=10)
    coverage.add_counters(readings(reading("a", 0, 0, 0), reading("a", 5, 500, 5)))
    assert shares(coverage) == {}
    coverage.add_counters(readings(reading("a", 20, 600, 6), reading("b", 20, 0, 0)))
    assert shares(coverage) == {"a": 0.0}
    coverage.add_counters(readings(reading("b", 130, 1000, 6)))
    assert shares(coverage) == {}
    coverage.add_counters(readings(reading("b", 150, 2000, 12)))
    assert shares(coverage) == {"b": 0.0}


def test_flows_of_which_no_reading_comes_are_not_kept() -> None:
    coverage = Coverage(wait_s=15)
    for second in range(100):
        coverage.add_flows(flows(flow("node-1", "a", "outside", second)), STATE)
        assert coverage.state()["flows"].height <= 15
    assert shares(coverage) == {}


def test_flows_are_tidied_up_though_nobody_asks() -> None:
    """Else what a pipeline that catches up holds grows until it publishes."""
    coverage = Coverage(wait_s=15, untidy_rows=10)
    for second in range(100):
        coverage.add_flows(flows(flow("node-1", "a", "outside", second)), STATE)
        assert coverage._flows.height < 15 + 10


def test_flows_tidied_up_in_parts_are_counted_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those up to one reading may lie in several parts."""
    monkeypatch.setattr(coverage_module, "_TIDIED_ROWS", 3)
    coverage = Coverage()
    coverage.add_counters(readings(reading("a", 0, 0, 0), reading("a", 20, 16 * 1528, 32)))
    coverage.add_flows(flows(*(flow("node-1", "a", "outside", second) for second in range(1, 17))), STATE)
    assert coverage.state()["flows"].height == 1
    assert shares(coverage) == {"a": 1.0}


def test_a_first_reading_far_behind_the_flows_is_passed_over() -> None:
    """The flows after it may be forgotten: a share that lacks them would be told as if they had been missed."""
    coverage = Coverage(wait_s=15)
    for second in range(5, 60, 5):
        coverage.add_flows(flows(flow("node-1", "a", "outside", second)), STATE)
        coverage.samples()
    for second in range(0, 61, 10):
        packets = 2 * (min(second, 55) // 5)
        coverage.add_counters(readings(reading("a", second, packets // 2 * 1528, packets)))
    assert shares(coverage) == {"a": 1.0}


def test_readings_that_come_with_flows_of_a_minute_are_all_taken() -> None:
    """As where what was recorded is counted anew, or a pipeline catches up: nothing was forgotten yet."""
    coverage = Coverage(wait_s=15)
    coverage.add_flows(flows(*(flow("node-1", "a", "outside", second) for second in range(5, 60, 10))), STATE)
    coverage.add_counters(readings(*(reading("a", 10 * n, 1528 * n, 2 * n) for n in range(7))))
    assert coverage.state()["readings"]["time"].min() == 0
    assert shares(coverage) == {"a": 1.0}


def test_a_node_whose_clock_is_behind_has_its_share() -> None:
    coverage = Coverage(wait_s=15)
    coverage.add_flows(flows(flow("node-1", "a", "outside", 100)), STATE)
    coverage.add_counters(readings(reading("c", 0, 0, 0)))
    coverage.add_flows(flows(flow("node-2", "c", "outside", 5)), STATE)
    coverage.samples()
    coverage.add_counters(readings(reading("c", 20, 1528, 2)))
    assert shares(coverage) == {"c": 1.0}


def test_pods_of_which_nothing_is_kept_lose_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """And those that keep one keep what was counted under it, also for the process that goes on."""
    monkeypatch.setattr(coverage_module, "_MOST_FORGOTTEN", 0)
    coverage = Coverage(wait_s=15)
    coverage.add_flows(flows(flow("node-1", "b", "outside", 0), flow("node-2", "c", "outside", 0)), STATE)
    coverage.add_counters(readings(reading("a", 90, 0, 0)))
    for second in range(90, 120, 5):
        coverage.add_flows(flows(flow("node-1", "a", "outside", second + 1)), STATE)
        coverage.add_flows(flows(flow("node-2", "c", "outside", second + 1)), STATE)
    assert coverage.state()["pods"]["pod"].to_list() == ["b", "c", "a"]
    coverage.keep_nodes(["node-1"])
    coverage.add_counters(readings(reading("a", 120, 6 * 1528, 12)))
    assert coverage.state()["pods"]["pod"].to_list() == ["a"]
    coverage.add_flows(flows(flow("node-1", "a", "b", 121)), STATE)
    after = Coverage()
    after.restore(coverage.state())
    after.add_counters(readings(reading("a", 125, 7 * 1528, 14)))
    assert shares(after) == {"a": 1.0}


@settings(max_examples=15, deadline=None)
@given(
    sizes=st.lists(st.integers(20, 3000), min_size=40, max_size=40),
    order=st.permutations(range(40)),
    publish_every=st.integers(3, 9),
)
def test_whole_is_whole_whatever_the_order(sizes: list[int], order: list[int], publish_every: int) -> None:
    """One flow each second, told within it; the interface is read at the end of each, over longer than a window."""
    coverage = Coverage(window_s=25, step_s=4, shortest_s=2)
    told, read, total = [], [], 0
    for second, size in enumerate(sizes):
        total += size + 14
        told.append(flows(flow("node-1", "a", "b", second + 0.5, size=size, reply=0, protocol=17)))
        read.append(readings(reading("a", second + 1, total, second + 1)))
    coverage.add_counters(readings(reading("a", 0, 0, 0)))
    late = sorted(range(40), key=lambda second: second + order[second] % 5)
    for place, second in enumerate(late):
        coverage.add_flows(told[second], STATE)
        coverage.add_counters(read[place])
        if place % publish_every == 0:
            coverage.samples()
    assert shares(coverage) == {"a": pytest.approx(1.0)}


def test_rows_of_looks_that_come_mixed_are_each_under_their_pod_and_time() -> None:
    """Batches may hold rows of several times, and rows of nodes may come in turns."""
    coverage = Coverage()
    rows = [flow("node-1", "a", "b", at_s) for at_s in (5, 6, 5)] + [flow("node-2", "c", "a", 5)]
    coverage.add_flows(flows(*rows, *rows), STATE)
    read = ("a", 6), ("b", 6), ("c", 2)
    for pod, count in read:
        coverage.add_counters(readings(reading(pod, 0, 0, 0), reading(pod, 20, count * 1528, 2 * count)))
    assert shares(coverage) == {"a": 1.0, "b": 1.0, "c": 1.0}


def test_looks_are_told_apart_where_node_or_time_is_another() -> None:
    nodes = np.array([7, 7, 8, 8, 7], np.uint32)
    assert _looks(nodes, np.array([1, 1, 1, 2, 2])).tolist() == [0, 0, 1, 2, 3]
    assert _looks(nodes[:0], np.zeros(0, np.int64)).tolist() == []
