"""The record: each connection once, pods by name, all else by address; and its ends found again, or left out."""

from __future__ import annotations

import polars as pl

from pipeline.policy.ends import judged
from pipeline.policy.record import established, is_rare, record_of
from tests.pipeline.policy.histories import IPS, cluster, history, later, seen


def test_a_pair_sums_its_connections_over_rows_and_days() -> None:
    rows = [
        seen("web-1", "db-0", 5432),
        seen("web-1", "db-0", 5432, opened=0, bytes=1000),  # a later observation of the same connection
        seen("web-1", "db-0", 5432, time=later(2), outcome="no_reply", reply_bytes=0),
        seen("web-1", "db-0", 5432, role="observer"),
    ]
    record = record_of(history(*rows))
    (pair,) = record.pairs.to_dicts()
    assert (pair["connections"], pair["no_reply"], pair["refused"], pair["bytes"]) == (2, 1, 0, 1300)
    assert (pair["first"], pair["last"], pair["days"]) == (later(0), later(2), 2)
    assert (record.since, record.until, record.days) == (later(0), later(2), 2)
    assert record.pairs.select(established()).item() == 1


def test_pods_are_one_whatever_address_they_had_and_others_are_not() -> None:
    rows = [
        seen("web-1", "db-0", 5432),
        seen("web-1", "db-0", 5432, src_ip="10.0.0.77"),
        seen("198.51.100.1", "web-1", 80),
        seen("198.51.100.2", "web-1", 80),
    ]
    pairs = record_of(history(*rows)).pairs
    assert pairs.select("source_name", "source_ip", "connections").rows() == [
        ("outside", "198.51.100.1", 1),
        ("outside", "198.51.100.2", 1),
        ("web-1", "", 2),
    ]


def test_rare_is_seldom_or_on_one_day_of_several() -> None:
    often = [seen("web-1", "db-0", 5432, time=later(day)) for day in (0, 0, 1, 1)]
    one_day = [seen("web-2", "db-0", 5432) for _ in range(9)]
    record = record_of(history(*often, *one_day))
    assert record.pairs.select(is_rare(record)).to_series().to_list() == [False, True]
    alone = record_of(history(*one_day))
    assert alone.pairs.select(is_rare(alone)).to_series().to_list() == [False]


def test_an_empty_history_is_an_empty_record() -> None:
    record = record_of(history())
    assert (record.pairs.height, record.since, record.days) == (0, None, 0)


def test_ends_are_found_as_pods_as_their_workload_and_by_address() -> None:
    _, known, _ = cluster()
    rows = [
        seen("web-1", "db-0", 5432),
        seen("web-0", "db-0", 5432),
        seen("198.51.100.1", "web-1", 80),
        seen("n1", "web-1", 80),
    ]
    found = judged(record_of(history(*rows)).pairs, known).pairs
    names = known.endpoints["name"]
    told = {(row["source_name"], names[row["src_id"]], row["source_by"]) for row in found.iter_rows(named=True)}
    assert told == {
        ("web-1", "web-1", "pod"),
        ("web-0", "web-1", "workload"),
        ("outside", "outside", "address"),
        ("n1", "n1", "pod"),
    }
    gone = found.filter(source_name="web-0")
    alive = found.filter(source_name="web-1")
    assert gone.select("src_hi", "src_lo").row(0) == alive.select("src_hi", "src_lo").row(
        0
    )  # as web-1, with its address


def test_what_came_from_a_pods_own_node_still_does_where_another_pod_stands_in() -> None:
    """The pod and its node are gone: its workload's pod is on n1, and what the kubelet said to it comes from there."""
    _, known, _ = cluster()
    probe = {"source_name": "n9", "source_workload": "n9"}
    rows = [
        seen("n1", "web-0", 80, **probe, destination_node="n9"),
        seen("n1", "web-0", 81, **probe, destination_node="n8"),
        seen("n1", "web-1", 82, destination_node="n1"),
    ]
    found = judged(record_of(history(*rows)).pairs, known).pairs.sort("port")
    names = known.endpoints["name"]
    assert found["from_own_node"].to_list() == [True, False, True]
    assert [names[number] for number in found["src_id"]] == ["n1", "outside", "n1"]


def test_what_cannot_be_found_is_counted_with_the_reason() -> None:
    _, known, _ = cluster()
    rows = [
        seen("gone-1", "db-0", 5432),
        seen("gone-1", "db-0", 5432),
        seen("web-1", "db-0", 80, destination_kind="Service", destination_name="db"),
        seen("web-1", IPS["db-0"], 80, destination_kind="Unknown"),
    ]
    found = judged(record_of(history(*rows)).pairs, known)
    assert found.pairs.is_empty()
    assert found.left_out.select("side", "pairs", "connections").rows() == [
        ("source", 1, 2),
        ("destination", 1, 1),
        ("destination", 1, 1),
    ]
    assert found.left_out["reason"][0] == "the pod is gone, and so is its workload"


def test_the_record_is_lazy_until_it_is_small() -> None:
    """A history is read by a query, and only distinct pairs come out."""
    rows = pl.concat([history(*(seen("web-1", "db-0", 5432) for _ in range(50)))] * 20)
    assert record_of(rows).pairs["connections"].to_list() == [1000]
