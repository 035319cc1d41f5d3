"""Polls of many batches: what comes out is what each would have been alone, and a flaw costs its own batch alone."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from collector.schema import TABLES, Batch, BatchError, unpack_records
from pipeline import intake as intake_module
from pipeline.batches import MAX_EPOCHS
from pipeline.bus import Message
from pipeline.decode import Rows, decode
from pipeline.intake import Intake
from pipeline.outputs.meters import Meters
from tests.pipeline.batches_for_tests import batch, counters, message
from tests.pipeline.test_decode_fuzz import BASES, MUTATIONS

BEFORE = Path(__file__).parents[1] / "data" / "wire" / "version-1.segment"
POLLS, OF_MESSAGES = 60, 40


def shipped(nodes: int = 12, rounds: int = 3) -> Iterator[Batch]:
    """Batches of several sizes, empty ones among them, of flows and counters."""
    for seq in range(rounds):
        for number in range(nodes):
            make = counters if number % 4 == 3 else batch
            yield make(node=f"node{number}", seq=seq, rows=(7, 0, 150, 1, 2_500)[(number + seq) % 5])


def of_version_before() -> list[Message]:
    """Recorded messages of the tables that nodes send."""
    found = []
    for headers, value in unpack_records(BEFORE.read_bytes()):
        table, node = TABLES.get(headers["table"].decode()), headers["node"]
        if table is not None:
            found.append(Message(table.topic, node.decode(), 0, node, headers, value))
    return found


def whole(chunks: list[list[Rows]], table: str) -> pl.DataFrame:
    return pl.concat(rows.frame for chunk in chunks for rows in chunk if rows.table == table)


def alone(messages: list[Message], table: str) -> pl.DataFrame:
    frames = [one.frame for one in map(decode, messages) if one.name.table == table]
    return pl.concat(frames)


def test_a_poll_gives_the_rows_that_its_batches_give_one_by_one() -> None:
    messages = [message(one) for one in shipped()]
    for chunk_rows in (1, 3_000, 10**6):
        taken = list(Intake(Meters(), chunk_rows=chunk_rows).take(messages))
        assert sorted((name.node, name.seq) for chunk in taken for rows in chunk for name in rows.names) == sorted(
            (one.node, one.seq) for one in shipped()
        )
        for table in ("flows", "counters"):
            assert whole(taken, table).equals(alone(messages, table))


def test_each_batch_keeps_its_own_times() -> None:
    (chunk,) = Intake(Meters()).take([message(one) for one in shipped()])
    seen = {}
    for rows in chunk:
        ends = np.cumsum([name.rows for name in rows.names])
        for name, times in zip(rows.names, np.split(rows.frame["time"].to_numpy(), ends[:-1]), strict=True):
            seen[name.node, name.seq] = times
    for one in shipped():
        assert np.array_equal(seen[one.node, one.seq], decode(message(one)).frame["time"].to_numpy())


def test_versions_are_read_side_by_side() -> None:
    old = of_version_before()
    new = [message(one) for one in shipped()]
    mixed = [*new[:5], *old, *new[5:]]
    taken = list(Intake(Meters()).take(mixed))
    for table in ("flows", "counters"):
        expected = pl.concat([alone(new, table), alone(old, table)])
        assert expected.height > alone(new, table).height
        assert whole(taken, table).equals(expected)


def with_sum(source: Batch, byte_sum: int) -> Message:
    return message(source, headers={**source.headers(), "bytes": str(byte_sum).encode()})


def flawed() -> dict[str, Message]:
    """By reason, a batch whose rows are at fault: none of these is seen before rows are put together."""
    late: dict[str, Any] = {"outcome": np.full(150, 5, np.uint8)}
    return {
        "values": message(batch(node="guilty", rows=150, **late)),
        "bytes": with_sum(batch(node="guilty", rows=150), 1),
    }


@pytest.mark.parametrize("reason", ["values", "bytes"])
@pytest.mark.parametrize("place", [0, 17, 36])
def test_a_flaw_costs_its_own_batch_alone(reason: str, place: int) -> None:
    sound = [message(one) for one in shipped()]
    bad = flawed()[reason]
    with pytest.raises(BatchError, match=reason):
        decode(bad)
    intake = Intake(Meters())
    taken = list(intake.take([*sound[:place], bad, *sound[place:]]))
    assert list(intake.refused) == [(bad, reason)]
    for table in ("flows", "counters"):
        assert whole(taken, table).equals(alone(sound, table))


def test_what_comes_twice_in_a_poll_or_later_is_passed_over() -> None:
    meters = Meters()
    intake = Intake(meters)
    messages = [message(one) for one in shipped()]
    first = list(intake.take([*messages, messages[2], messages[2], messages[5]]))
    new = message(batch(node="node2", seq=3, rows=4))
    (second,) = intake.take([messages[2], new, messages[8]])
    assert whole(first, "flows").equals(alone(messages, "flows"))
    assert [rows.frame.height for rows in second] == [4]
    assert whole([second], "flows").equals(decode(new).frame)
    assert meters.duplicates == {"node2": 3, "node5": 1, "node8": 1}
    assert list(intake.take(messages)) == []


def test_what_is_told_for_the_next_process_is_so_after_every_change() -> None:
    """What is told of epochs that are over, as most are after some days, is not made anew each second."""
    random = np.random.default_rng(1)
    intake, other = Intake(Meters()), Intake(Meters())
    most = 0
    for turn in range(300):
        epoch, seq = (int(random.integers(1, 13)) for _ in range(2))
        source = batch(node=f"node{turn % 3}", epoch=epoch, seq=seq, rows=1)
        list(intake.take([message(source, partition=str(random.integers(0, 2)))]))
        match turn % 100:
            case 40:
                other.take_over(("flowatlas.flows.v1", "0"), intake.tracks(("flowatlas.flows.v1", "0")))
                intake.keep([("flowatlas.flows.v1", "1")])
            case 70:
                intake.take_over(("flowatlas.flows.v1", "0"), other.tracks(("flowatlas.flows.v1", "0")))
            case 99:
                intake.restore(json.loads(json.dumps(intake.state())))
        told, ledger = intake.state(), intake._ledger
        known = {(node, "flows"): ledger.track(node, "flows") for node in ledger.nodes()}
        assert {(*track, *epoch[:1]): epoch[1:] for track, epochs in known.items() for epoch in epochs} == {
            tuple(epoch[:3]): epoch[3:] for epoch in told["epochs"]
        }
        assert {tuple(home[:3]): tuple(home[3:]) for home in told["homes_of_epochs"]} == intake._homes
        assert intake._homes.keys() == {tuple(epoch[:3]) for epoch in told["epochs"]}
        most = max(most, *map(len, known.values()))
    assert most == MAX_EPOCHS


def test_large_memory_behind_few_rows_is_not_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch may stand on much more memory than its rows take; that is let go before more is opened."""
    monkeypatch.setattr(intake_module, "CHUNK_BYTES", 10_000)
    messages = [message(batch(seq=seq, rows=1)) for seq in range(50)]
    chunks = list(Intake(Meters()).take(messages))
    assert len(chunks) > 5
    assert sum(len(rows.names) for chunk in chunks for rows in chunk) == 50


def test_mutants_in_a_poll_are_refused_as_they_are_alone() -> None:
    """Whatever is wrong with some of a poll's messages, the same ones are refused, for the same reasons."""
    outcomes: Counter[str] = Counter()
    for poll in range(POLLS):
        random = np.random.default_rng(poll)
        messages = []
        for number in range(OF_MESSAGES):
            base = BASES[random.integers(0, len(BASES))]
            is_mutant = random.random() < (0.05, 0.5)[poll % 2]
            mutate = MUTATIONS[random.integers(0, len(MUTATIONS))]
            made = mutate(base, random) if is_mutant else message(base)
            if "seq" in made.headers:  # or all would be one batch
                made.headers["seq"] = made.headers["seq"] + str(number).encode()  # type: ignore[index]
            messages.append(made)
        expected, reasons = {}, {}
        for place, one in enumerate(messages):
            try:
                decoded = decode(one)
            except BatchError as error:
                reasons[place] = error.reason
            else:
                expected[decoded.name] = decoded.frame
        intake = Intake(Meters())
        taken = [rows for chunk in intake.take(messages) for rows in chunk]
        places = {id(one): place for place, one in enumerate(messages)}
        assert {places[id(one)]: reason for one, reason in intake.refused} == reasons, poll
        outcomes.update(reasons.values())
        for rows in taken:
            start = 0
            for name in rows.names:
                assert rows.frame.slice(start, name.rows).equals(expected.pop(name)), poll
                start += name.rows
        assert not expected, poll
    assert {"checksum", "ipc", "values", "bytes", "rows"} <= outcomes.keys()  # flaws of envelopes, and of rows


DAY = 86_400.0


def take(intake: Intake, *batches: Batch) -> int:
    """How many of them are new."""
    return sum(len(rows.names) for chunk in intake.take([message(one) for one in batches]) for rows in chunk)


def remembered(intake: Intake) -> set[str]:
    """Of which nodes anything is kept."""
    state = intake.state()
    counts = [*state["settled"], *state["duplicates"], *state["late"], *state["heard"]]
    return {*counts, *(key[0] for name in ("epochs", "homes_of_epochs", "homes") for key in state[name])}


def test_a_node_that_the_cluster_has_no_more_is_forgotten_after_days_and_one_that_it_has_never() -> None:
    meters, names = Meters(), ("here", "gone", "lately")
    intake, began_s = Intake(meters), time.time()
    assert take(intake, *(batch(node=name, seq=seq) for name in names for seq in (0, 0, 2))) == 6
    meters.missing(intake.missing())
    assert intake.forget({"here"}, began_s + 2 * DAY) == set()
    intake.restore(json.loads(json.dumps(intake.state())))
    intake._heard_s["lately"] = began_s + DAY
    forgotten = intake.forget({"here"}, began_s + 3.5 * DAY)
    meters.forget(forgotten)
    assert forgotten == {"gone"}
    assert remembered(intake) == {"here", "lately"}
    assert "gone" not in json.dumps(meters.state())
    assert take(intake, *(batch(node=name, seq=0) for name in names)) == 1, "of the one that is forgotten"


def test_names_that_somebody_makes_up_are_remembered_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "MAX_STRANGERS", 10)
    meters = Meters()
    intake = Intake(meters)
    take(intake, batch(node="here"), batch(node="before"))
    for number in range(100):
        take(intake, batch(node=f"made-up{number}"))
        meters.forget(intake.forget({"here"}, time.time()))
        assert len(remembered(intake)) <= 1 + 2 * 10 + 1
    assert take(intake, batch(node="here")) == 0
    intake.forget({"here"}, time.time() + 700)
    assert remembered(intake) == {"here", *(f"made-up{number}" for number in range(90, 100))}


def test_where_no_node_is_known_none_goes_for_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "MAX_STRANGERS", 2)
    intake = Intake(Meters())
    take(intake, *(batch(node=f"node{number}") for number in range(9)))
    assert intake.forget(set(), time.time() + 700) == set()
    assert len(intake.forget({"node8"}, time.time() + 1400)) == 6


def test_what_a_snapshot_of_before_knows_is_taken_to_be_of_now() -> None:
    intake, now_s = Intake(Meters()), time.time()
    take(intake, batch(node="gone"))
    state = intake.state()
    del state["heard"]
    intake.restore(state)
    assert intake.forget(set(), now_s + 9 * DAY) == set()
    assert intake.forget(set(), now_s + 13 * DAY) == {"gone"}
