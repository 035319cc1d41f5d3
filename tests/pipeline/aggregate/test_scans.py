"""How many destinations a workload tried in vain."""

from __future__ import annotations

import polars as pl
import pytest

from collector.schema import OUTCOMES
from pipeline.aggregate.scans import BUCKET_NS, Scans
from tests.pipeline.aggregate.connections import CLIENTS, Call, attributed, exposed, services_cluster

SNAPSHOT = services_cluster()
METRIC = "flowatlas_workload_failed_destinations"
CLIENT = ("shop", "client-a", "Pod")


def tried(calls: list[Call], outcome: str = "refused") -> pl.DataFrame:
    told = pl.lit(OUTCOMES.index(outcome), dtype=pl.UInt8)
    return attributed(calls, SNAPSHOT).with_columns(told.alias("outcome"))


def ports(count: int, first: int = 1, at: float = 0, backend: str = "10.0.2.7") -> list[Call]:
    return [Call(backend, backend_port=port, at=at) for port in range(first, first + count)]


def destinations(*batches: pl.DataFrame, **bounds: int) -> dict[tuple[str, ...], float]:
    scans = Scans(**bounds)
    scans.use(SNAPSHOT)
    for batch in batches:
        scans.add(batch)
    return exposed(scans.samples(), METRIC)


@pytest.mark.parametrize("outcome", ["refused", "no_reply"])
def test_ports_and_addresses_that_were_tried_in_vain_are_counted(outcome: str) -> None:
    addresses = [Call(f"10.0.2.{last}", backend_port=80) for last in range(20, 28)]
    assert destinations(tried(ports(12), outcome), tried(addresses, outcome)) == {CLIENT: 20}


@pytest.mark.parametrize("outcome", ["open", "closed", "reset"])
def test_what_answered_is_not(outcome: str) -> None:
    assert destinations(tried(ports(50), outcome)) == {}


def test_each_counts_once_in_whatever_batch_it_comes() -> None:
    assert destinations(tried(ports(12) + ports(12)), tried(ports(14))) == {CLIENT: 14}


def test_few_are_no_scan() -> None:
    assert destinations(tried(ports(9))) == {}
    assert destinations(tried(ports(10))) == {CLIENT: 10}


def test_pods_count_for_themselves_where_they_are_their_own_workload() -> None:
    other = [Call("10.0.2.7", backend_port=port, src=CLIENTS[1], node="node-b") for port in range(1, 16)]
    assert destinations(tried(ports(12) + other)) == {CLIENT: 12, ("shop", "client-b", "Pod"): 15}


def test_what_is_older_than_the_window_is_forgotten() -> None:
    assert destinations(tried(ports(40)), tried(ports(11, 100, at=540))) == {CLIENT: 51}
    assert destinations(tried(ports(40)), tried(ports(11, 100, at=660))) == {CLIENT: 11}


def test_one_that_is_tried_again_stays() -> None:
    assert destinations(tried(ports(40)), tried(ports(20, at=400)), tried(ports(1, at=900))) == {CLIENT: 20}


def test_rows_of_what_other_nodes_saw_too_do_not_count() -> None:
    seen = tried(ports(20))
    assert destinations(seen.with_columns(role=pl.lit("observer").cast(seen["role"].dtype))) == {}


def test_it_is_bounded_by_the_workload_and_in_all() -> None:
    assert destinations(tried(ports(40)), most_destinations=25) == {CLIENT: 25}
    assert destinations(*(tried(ports(40, 40 * i)) for i in range(20)), most_rows=30) == {CLIENT: 30}


def test_what_goes_are_the_oldest() -> None:
    scans = Scans(most_rows=30)
    scans.use(SNAPSHOT)
    scans.add(tried(ports(60)))
    scans.add(tried(ports(30, 100, at=300)))
    scans.samples()
    scans.add(tried(ports(1, 100, at=620)))
    assert exposed(scans.samples(), METRIC) == {CLIENT: 30}


def test_a_window_goes_on_in_the_next_process() -> None:
    scans = Scans()
    scans.use(SNAPSHOT)
    scans.add(tried(ports(40)))
    after = Scans()
    assert [kept.restore(scans.kept()[name].state()) for name, kept in after.kept().items()] == [0, 0]
    after.use(services_cluster())
    after.add(tried(ports(41)))
    assert exposed(after.samples(), METRIC) == {CLIENT: 41}


def test_a_window_with_addresses_spelled_out_goes_on_too() -> None:
    calls = tried(ports(12))
    spelled = calls.select(
        *(
            pl.lit(text).alias(name)
            for name, text in zip(("namespace", "workload", "workload_kind"), CLIENT, strict=True)
        ),
        *("dst_hi", "dst_lo", "dst_port", "protocol"),
        bucket=pl.col("start") // BUCKET_NS,
    )
    scans = Scans()
    assert scans.restore({"tried": spelled}) == 0
    scans.use(SNAPSHOT)
    scans.add(tried(ports(13)))
    assert exposed(scans.samples(), METRIC) == {CLIENT: 13}


def test_many_tries_at_once_are_counted_one_by_one() -> None:
    """Addresses that differ in a bit, ports that do, and both."""
    calls = [
        Call(f"10.{high}.{low}.7", backend_port=port) for high in range(8) for low in range(8) for port in range(1, 65)
    ]
    assert destinations(tried(calls), tried(calls[::2])) == {CLIENT: len(calls)}


def test_where_ids_mean_something_else_it_begins_anew() -> None:
    scans = Scans()
    scans.use(SNAPSHOT)
    scans.add(tried(ports(40)))
    scans.use(services_cluster())
    assert exposed(scans.samples(), METRIC) == {}


def test_series_that_stay_keep_their_labels_object() -> None:
    scans = Scans()
    scans.use(SNAPSHOT)
    scans.add(tried(ports(40)))
    (before,) = scans.samples()
    scans.add(tried(ports(41)))
    (after,) = scans.samples()
    assert after.labels is before.labels
    assert after.values.to_list() == [41]
