"""A node whose clock is ahead: what others ship is told as if it were not there."""

from __future__ import annotations

import time

import pytest

from collector.schema import COUNTERS
from pipeline.bus import Message
from tests.pipeline.engine_bench import DATABASE, DATABASE_VIP, FRONT_A, FRONT_B, Bench
from tests.pipeline.shipments import SECOND, batch, flow, interface, message

UNCHANGED = (
    ("flowatlas_capture_coverage_ratio", "pod"),
    ("flowatlas_node_capture_coverage_ratio", "node"),
    ("flowatlas_workload_failed_destinations", "source_workload"),
)


def of_node_a(now: int) -> list[list[Message]]:
    """Destinations tried in vain, and readings of an interface, of the last minutes."""
    begin = now // SECOND * SECOND - 100 * SECOND
    tried = [
        flow(FRONT_A, f"10.0.9.{k}", 22, flow_id=k, start=begin + k * 1000, time=begin + SECOND, outcome=2)
        for k in range(100)
    ]
    readings = [
        interface(FRONT_A, time=begin + 10 * k * SECOND, transmit_bytes=10_000 * k, transmit_packets=100 * k)
        for k in range(5)
    ]
    shipped = [batch("node-a", 0, tried), *(batch("node-a", k, [row], COUNTERS) for k, row in enumerate(readings))]
    return [[message(one)] for one in shipped]


def ahead(at_ns: int) -> list[list[Message]]:
    """A call and a reading of node-b of another time, each alone in a poll."""
    call = flow(FRONT_B, DATABASE_VIP, 5432, backend=DATABASE, start=at_ns // 1000 * 1000, time=at_ns)
    reading = interface(FRONT_B, time=at_ns, transmit_bytes=1)
    return [[message(batch("node-b", 0, [call]))], [message(batch("node-b", 0, [reading], COUNTERS))]]


def told(*polls: list[Message]) -> dict[str, dict[tuple[str, ...], float]]:
    bench = Bench(*polls, wait_s=0.0)
    bench.drain()
    assert (
        max(bench.values("flowatlas_service_last_connection_timestamp_seconds", "service").values()) < time.time() + 60
    )
    return {name: bench.values(name, label) for name, label in UNCHANGED}


@pytest.mark.parametrize("ahead_ns", [3600 * SECOND, 2**63], ids=["an hour", "2262"])
def test_others_keep_their_windows(ahead_ns: int) -> None:
    now = time.time_ns()
    undisturbed = told(*of_node_a(now))
    assert all(undisturbed.values())
    assert told(*ahead(min(now + ahead_ns, 2**63 - 1)), *of_node_a(now)) == undisturbed
