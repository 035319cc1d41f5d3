"""Batches that are sound and whose numbers cannot be true: of who makes them up, and of drivers that count wrongly."""

from __future__ import annotations

from pathlib import Path

from collector.schema import COUNTERS, DNS, DROPS, FLOWS
from pipeline.outputs.lake import Lake
from tests.pipeline.engine_bench import DATABASE, FRONT_A, Bench, through_service
from tests.pipeline.shipments import NOW, SECOND, batch, interface, message

MOST = 2**64 - 1


def test_numbers_of_batches_that_are_made_up_end_nobody() -> None:
    """What is between two numbers is missing, of all tables of a node together: that has to be a count too."""
    tables = (FLOWS, COUNTERS, DNS, DROPS)
    made_up = [message(batch("node-b", seq, [], table)) for table in tables for seq in (0, 2**40 - 1)]
    beyond = [message(batch("node-b", seq, [], table)) for table in tables for seq in (2**40, 2**63 - 1)]
    bench = Bench(made_up + beyond, [through_service()])
    bench.drain()
    assert bench.values("flowatlas_pipeline_quarantined_batches_total", "reason") == {("headers",): 8}
    missing = bench.values("flowatlas_pipeline_missing_batches_total", "node")
    assert missing == {("node-a",): 0, ("node-b",): 4 * (2**40 - 2)}
    assert bench.values("flowatlas_connections_total") == {(): 1}


def test_a_driver_that_counts_below_zero_ends_nobody(tmp_path: Path) -> None:
    """As some do: what is one less than nothing is told as 2**64 - 1, and grows by what it should from there on."""

    def read(seq: int, packets: int) -> list[dict[str, object]]:
        at = NOW + 20 * seq * SECOND
        wrong = interface(FRONT_A, time=at, transmit_packets=packets, transmit_packets_dropped=MOST)
        return [wrong, interface(DATABASE, time=at, receive_packets=MOST, transmit_packets=MOST)]

    readings = [message(batch("node-a", seq, read(seq, MOST - 5 + seq), COUNTERS)) for seq in range(3)]
    bench = Bench(*([one] for one in readings), [through_service(0)], lake=Lake(tmp_path))
    bench.drain()
    told = bench.values("container_network_transmit_packets_total", "pod")
    assert max(told.values()) == MOST
    assert bench.values("flowatlas_connections_total") == {(): 1}
