"""Deltas over any sequence of dumps and endings sum to what the kernel counted."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.connections import COUNTERS, ENTRY, Entries
from collector.flowtable import GRACE_DUMPS, ROW, FlowTable
from collector.schema import OUTCOMES

SECOND = 1_000_000_000
START = 10**18
NOTHING = np.empty(0, ENTRY)


def entries(*rows: dict[str, Any]) -> Entries:
    array = np.zeros(len(rows), ENTRY)
    for index, row in enumerate(rows):
        for name, value in {"start": START, "protocol": 6, "tcp_state": 3, "status": 6, **row}.items():
            array[name][index] = value
    return array


def words(rows: Any) -> list[str]:
    return [OUTCOMES[code] for code in rows["outcome"].tolist()]


def test_first_sight_carries_the_whole_count_so_far() -> None:
    (row,) = FlowTable().update(entries({"key": 1, "bytes": 700, "reply_bytes": 30}), NOTHING, START + SECOND)
    assert (row["opened"], row["closed"], row["bytes"], row["reply_bytes"]) == (1, 0, 700, 30)
    assert (row["start"], row["time"]) == (START, START + SECOND)


def test_what_has_not_changed_is_not_told() -> None:
    table = FlowTable()
    table.update(entries({"key": 1, "bytes": 700}), NOTHING, START)
    assert len(table.update(entries({"key": 1, "bytes": 700}), NOTHING, START + SECOND)) == 0


def test_an_ending_outranks_the_dump_of_the_same_cycle() -> None:
    table = FlowTable()
    dump, ending = entries({"key": 1, "bytes": 5}), entries({"key": 1, "bytes": 9, "stop": START + 7})
    (row,) = table.update(dump, ending, START + SECOND)
    assert (row["bytes"], row["opened"], row["closed"], row["time"]) == (9, 1, 1, START + 7)
    assert len(table) == 0


def test_an_entry_dumped_twice_is_one_row_with_the_later_count() -> None:
    (row,) = FlowTable().update(entries({"key": 1, "bytes": 5}, {"key": 1, "bytes": 6}), NOTHING, START)
    assert row["bytes"] == 6


def test_a_connection_left_out_of_a_dump_is_not_ended_by_it() -> None:
    table = FlowTable()
    table.update(entries({"key": 1, "bytes": 5}), NOTHING, START)
    for _ in range(GRACE_DUMPS - 1):
        assert len(table.update(NOTHING, NOTHING, START)) == 0
    (row,) = table.update(entries({"key": 1, "bytes": 8}), NOTHING, START)
    assert (row["bytes"], row["opened"], row["closed"]) == (3, 0, 0)


def test_a_connection_whose_ending_was_lost_ends_with_its_last_count() -> None:
    table = FlowTable()
    table.update(entries({"key": 1, "bytes": 5, "tcp_state": 5}), NOTHING, START)
    rows = np.concatenate([table.update(NOTHING, NOTHING, START) for _ in range(GRACE_DUMPS + 2)])
    assert rows["closed"].tolist() == [1]
    assert words(rows) == ["closed"]
    assert len(table) == 0


def test_a_failure_is_told_on_one_row_alone() -> None:
    table = FlowTable()
    reset = {"key": 1, "tcp_state": 8, "status": 2, "reply_packets": 1}
    seen = [
        table.update(entries({"key": 1, "tcp_state": 1, "status": 0}), NOTHING, START),
        table.update(entries(reset), NOTHING, START),
        table.update(entries({**reset, "bytes": 60}), NOTHING, START),
        table.update(NOTHING, entries({**reset, "bytes": 60}), START),
    ]
    assert [words(rows) for rows in seen] == [["open"], ["reset"], ["open"], ["open"]]


def test_a_late_reply_does_not_take_no_reply_back() -> None:
    table = FlowTable()
    table.update(entries({"key": 1, "tcp_state": 1, "status": 0}), NOTHING, START)
    assert words(table.update(entries({"key": 1, "tcp_state": 1, "status": 0}), NOTHING, START + 4 * SECOND)) == [
        "no_reply"
    ]
    late = table.update(entries({"key": 1, "reply_bytes": 60}), NOTHING, START + 5 * SECOND)
    last = table.update(NOTHING, entries({"key": 1, "reply_bytes": 60, "tcp_state": 7}), START + 6 * SECOND)
    assert words(late) + words(last) == ["open", "open"]


def test_without_kernel_timestamps_a_connection_starts_when_first_seen() -> None:
    table = FlowTable()
    (first,) = table.update(entries({"key": 1, "start": 0}), NOTHING, START)
    (second,) = table.update(entries({"key": 1, "start": 0, "bytes": 1}), NOTHING, START + SECOND)
    assert (first["start"], second["start"], second["time"]) == (START, START, START + SECOND)


def test_an_ending_without_state_keeps_the_state_last_seen() -> None:
    table = FlowTable()
    table.update(entries({"key": 1, "tcp_state": 5}), NOTHING, START)
    assert words(table.update(NOTHING, entries({"key": 1, "tcp_state": 0, "status": 0}), START)) == ["closed"]


def test_counters_that_another_program_zeroed_count_from_zero() -> None:
    table = FlowTable()
    table.update(entries({"key": 1, "bytes": 500, "packets": 5}), NOTHING, START)
    (row,) = table.update(entries({"key": 1, "bytes": 80, "packets": 1}), NOTHING, START)
    assert (row["bytes"], row["packets"], row["opened"]) == (80, 1, 0)


UNANSWERED = {"tcp_state": 1, "status": 0, "packets": 1, "bytes": 60, "src_port": 4711}


def table_after_a_drop(answered: bool = False) -> FlowTable:
    """The entry of a SYN was dropped after a second and a half, before the next look."""
    table = FlowTable()
    first = {**UNANSWERED, "reply_packets": int(answered), "status": 2 * int(answered)}
    table.update(entries({**first, "key": 1}), NOTHING, START + SECOND)
    (row,) = table.update(NOTHING, entries({**first, "key": 1, "stop": START + 3 * SECOND // 2}), START + 2 * SECOND)
    assert (row["opened"], row["closed"]) == (0, 1)
    return table


def test_a_syn_sent_again_after_its_entry_was_dropped_goes_on_with_its_connection() -> None:
    table = FlowTable()
    (first,) = table.update(entries({**UNANSWERED, "key": 1}), NOTHING, START + SECOND)
    again = {**UNANSWERED, "key": 2, "start": START + 2 * SECOND}
    dropped = entries({**UNANSWERED, "key": 1, "stop": START + 3 * SECOND // 2})
    told = [
        table.update(entries(again), dropped, START + 2 * SECOND),
        table.update(entries({**again, "packets": 2, "bytes": 120}), NOTHING, START + 6 * SECOND),
        table.update(NOTHING, entries({**again, "packets": 2, "bytes": 120}), START + 9 * SECOND),
    ]
    rows = np.concatenate(told)
    assert set(rows["flow_id"].tolist()) == {first["flow_id"]}
    assert set(rows["start"].tolist()) == {START}
    assert (int(rows["opened"].sum()), int(rows["closed"].sum()), int(rows["bytes"].sum())) == (0, 1, 120)
    assert sorted(words(rows)) == ["no_reply", "open", "open"]
    assert len(table) == 0


def test_a_port_used_again_after_an_answer_or_much_later_is_another_connection() -> None:
    for answered, start in ((True, 2), (False, 5)):
        later = entries({**UNANSWERED, "key": 2, "start": START + start * SECOND})
        (row,) = table_after_a_drop(answered).update(later, NOTHING, START + start * SECOND)
        assert (row["opened"], row["start"]) == (1, START + start * SECOND)


class Kernel:
    """A conntrack table that behaves: counters grow, and an ended connection is in the next endings."""

    def __init__(self) -> None:
        self.live: dict[int, dict[str, Any]] = {}
        self.final: dict[int, dict[str, Any]] = {}
        self.endings: list[dict[str, Any]] = []
        self._next_key = 1

    def act(self, action: str, pick: int, amount: int) -> None:
        keys = sorted(self.live)
        if action == "open" or not keys:
            self.live[self._next_key] = {"key": self._next_key, **dict.fromkeys(COUNTERS, amount % 3), "tcp_state": 3}
            self._next_key += 1
            return
        row = self.live[keys[pick % len(keys)]]
        if action == "grow":
            row[COUNTERS[pick % 4]] += amount
        elif action == "reset":
            row["tcp_state"] = 8
        elif action == "end":
            self.endings.append(row)
            self.final[row["key"]] = self.live.pop(row["key"])


actions = st.lists(
    st.tuples(
        st.sampled_from(["open", "open", "grow", "grow", "grow", "reset", "end", "dump"]),
        st.integers(0, 1000),
        st.integers(1, 2**40),
    ),
    max_size=60,
)


@settings(max_examples=200)
@given(actions, st.data())
def test_sums_over_any_interleaving_equal_the_kernels_last_word(steps: list[tuple[str, int, int]], data: Any) -> None:
    """Dumps may leave entries out, tell them twice, and still hold what has ended a moment later."""
    kernel, table, rows, now = Kernel(), FlowTable(), [], START
    complete = True
    for action, pick, amount in [*steps, ("dump", 0, 0)]:
        now += SECOND // 10
        if action != "dump":
            kernel.act(action, pick, amount)
            continue
        snapshot = [dict(row) for row in kernel.live.values()]
        if steps and data.draw(st.booleans()):  # an ending between the dump and its events
            kernel.act("end", pick, amount)
        if snapshot and data.draw(st.booleans()):
            snapshot.append(snapshot[0])
        complete = not complete or len(snapshot) < 2 or data.draw(st.booleans())  # never out of two dumps in a row
        if not complete:
            snapshot.pop(0)
        rows.append(table.update(entries(*snapshot), entries(*kernel.endings), now))
        kernel.endings.clear()
    rows.append(table.update(entries(*kernel.live.values()), NOTHING, now))

    sums: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in np.concatenate(rows):
        for name in (*COUNTERS, "opened", "closed"):
            sums[int(row["key"])][name] += int(row[name])
        sums[int(row["key"])]["settled"] += int(row["outcome"] != 0)
    assert set(sums) == set(kernel.live) | set(kernel.final)
    for key, total in sums.items():
        last = kernel.final.get(key) or kernel.live[key]
        assert {name: total[name] for name in COUNTERS} == {name: last[name] for name in COUNTERS}
        assert total["opened"] == 1
        assert total["closed"] == (1 if key in kernel.final else 0)
        assert total["settled"] == (1 if last["tcp_state"] == 8 else 0)
    assert len(table) == len(kernel.live)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(0, 11))
def test_a_table_that_was_handed_on_tells_what_the_first_would_have(seed: int, looks: int, handed_on: int) -> None:
    """Whenever the journal was begun anew, and however many changes came after it."""
    chance = np.random.default_rng(seed)
    first, counts = FlowTable(), np.zeros(8, np.int64)
    changes: list[dict[str, Any]] = []
    first.watch()
    for look in range(looks):
        counts += chance.integers(0, 3, 8)
        seen = [
            {"key": int(key), "src_lo": int(key), "bytes": int(counts[key]), "reply_packets": int(key % 2)}
            for key in np.flatnonzero(chance.random(8) < 0.7)
        ]
        ended = [{**row, "stop": START + look * SECOND} for row in seen if chance.random() < 0.3]
        first.update(entries(*seen), entries(*ended), START + look * SECOND)
        if not changes or look == handed_on:
            changes = [first.changed(everything=True)]
        elif chance.random() < 0.7:
            changes.append(first.changed(everything=False))
    changes.append(first.changed(everything=False))
    second = FlowTable()
    second.restore(changes)
    assert len(second) == len(first)
    dump = entries(*({"key": key, "src_lo": key, "bytes": int(counts[key]) + 1} for key in range(8)))
    told = [table.update(dump, NOTHING, START + looks * SECOND) for table in (first, second)]
    without_name = [name for name in ROW.names or () if name != "flow_id"]
    assert told[0][without_name].tolist() == told[1][without_name].tolist()
    goes_on = told[0]["opened"] == 0
    assert told[0]["flow_id"][goes_on].tolist() == told[1]["flow_id"][goes_on].tolist()
