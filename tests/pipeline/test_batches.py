"""The ledger: each name once, gaps counted, memory bounded."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from collector.schema import VERSION, BatchName
from pipeline.batches import MAX_EPOCHS, MAX_INTERVALS, BatchLedger


def name(seq: int, *, node: str = "node1", table: str = "flows", epoch: int = 1) -> BatchName:
    return BatchName(schema=VERSION, table=table, node=node, epoch=epoch, seq=seq, rows=1, byte_sum=0)


def test_a_gap_is_missing_until_the_late_batch_arrives() -> None:
    ledger = BatchLedger()
    assert all(ledger.accept(name(seq)) for seq in (5, 6, 9))
    assert ledger.missing() == {"node1": 2}
    assert ledger.accept(name(7))
    assert ledger.missing() == {"node1": 1}
    assert ledger.accept(name(8))
    assert ledger.missing() == {"node1": 0}


@given(st.sets(st.integers(0, 30), min_size=1), st.sets(st.integers(0, 30), min_size=1))
def test_who_takes_up_what_two_ledgers_have_of_an_epoch_knows_both(one: set[int], other: set[int]) -> None:
    both = BatchLedger()
    for seqs in (one, other):
        ledger = BatchLedger()
        for seq in seqs:
            ledger.accept(name(seq))
        for epoch in ledger.track("node1", "flows"):
            both.put("node1", "flows", *epoch)
    came = one | other
    assert both.missing() == {"node1": max(came) - min(came) + 1 - len(came)}
    assert both.end("node1", "flows", 1) == max(came) + 1
    assert {seq for seq in range(32) if both.accept(name(seq))} == set(range(32)) - came


def test_what_was_sent_before_the_first_batch_seen_is_not_missing() -> None:
    ledger = BatchLedger()
    assert ledger.accept(name(1_000_000))
    assert ledger.missing() == {"node1": 0}


def test_duplicates_are_refused_and_counted_by_node() -> None:
    ledger = BatchLedger()
    for seq in (0, 1, 3):
        ledger.accept(name(seq))
    assert not any(ledger.accept(name(seq)) for seq in (0, 1, 3))
    assert ledger.accept(name(0, node="node2"))
    assert ledger.duplicates == {"node1": 3}


def test_tables_and_nodes_are_numbered_apart() -> None:
    ledger = BatchLedger()
    assert ledger.accept(name(0))
    assert ledger.accept(name(0, table="counters"))
    assert ledger.accept(name(0, node="node2"))


def test_a_new_epoch_starts_afresh_and_the_old_one_is_remembered() -> None:
    ledger = BatchLedger()
    for seq in (0, 2):
        ledger.accept(name(seq, epoch=1))
    assert ledger.accept(name(0, epoch=2))
    assert ledger.missing() == {"node1": 1}
    assert not ledger.accept(name(2, epoch=1))
    assert ledger.accept(name(1, epoch=1))
    assert ledger.missing() == {"node1": 0}


def test_a_forgotten_epoch_leaves_its_gaps_in_the_count() -> None:
    ledger = BatchLedger()
    for seq in (0, 4):
        ledger.accept(name(seq, epoch=1))
    for epoch in range(2, 2 + MAX_EPOCHS):
        ledger.accept(name(0, epoch=epoch))
    assert ledger.missing() == {"node1": 3}
    assert len(ledger.to_dict()["epochs"]) == MAX_EPOCHS


def test_gaps_beyond_the_bound_are_given_up_and_stay_missing() -> None:
    ledger = BatchLedger()
    count = MAX_INTERVALS + 10
    for seq in range(0, 2 * count, 2):
        ledger.accept(name(seq))
    assert ledger.missing() == {"node1": count - 1}
    (epoch,) = ledger.to_dict()["epochs"]
    assert len(epoch[4]) == MAX_INTERVALS
    assert not ledger.accept(name(1))  # its gap was given up
    assert ledger.missing() == {"node1": count - 1}


NAMES = st.builds(
    name,
    st.integers(0, 12),
    node=st.sampled_from(["a", "b"]),
    table=st.sampled_from(["flows", "counters"]),
    epoch=st.integers(1, 3),
)


@given(st.lists(NAMES, max_size=60))
def test_any_order_is_judged_as_a_set_would_judge_it(names: list[BatchName]) -> None:
    ledger = BatchLedger()
    seen: dict[tuple[str, str, int], set[int]] = {}
    duplicates = dict.fromkeys(("a", "b"), 0)
    for one in names:
        numbers = seen.setdefault((one.node, one.table, one.epoch), set())
        assert ledger.accept(one) is (one.seq not in numbers)
        duplicates[one.node] += one.seq in numbers
        numbers.add(one.seq)
    missing = dict.fromkeys({node for node, _, _ in seen}, 0)
    for (node, _, _), numbers in seen.items():
        missing[node] += max(numbers) - min(numbers) + 1 - len(numbers)
    assert ledger.missing() == missing
    assert {node: ledger.duplicates[node] for node in duplicates} == duplicates


@given(st.lists(NAMES, max_size=40), st.lists(NAMES, max_size=40))
def test_a_ledger_read_back_from_json_goes_on_as_the_first_would(
    before: list[BatchName], after: list[BatchName]
) -> None:
    ledger = BatchLedger()
    for one in before:
        ledger.accept(one)
    copy = BatchLedger.from_dict(json.loads(json.dumps(ledger.to_dict())))
    assert [ledger.accept(one) for one in after] == [copy.accept(one) for one in after]
    assert copy.to_dict() == ledger.to_dict()
