"""Notes beside offsets: what they carry, what does not fit, and what others may have written there."""

from __future__ import annotations

import base64
import zlib

from pipeline.handover import MAX_TEXT, HandOver, Note, Track, parse_note
from pipeline.intake import Intake
from pipeline.outputs.meters import Meters
from tests.pipeline.shipments import batch, flow, message


def member(name: str) -> tuple[HandOver, Intake]:
    meters = Meters()
    intake = Intake(meters)
    return HandOver(name, intake, meters), intake


def taken(intake: Intake, *seqs: int, epoch: int = 1, partition: str = "node-a") -> int:
    """How many of these batches were new."""
    made = [batch("node-a", seq, [flow("10.0.1.5", "10.0.2.7", 80)], epoch=epoch) for seq in seqs]
    messages = [message(one, partition=partition) for one in made]
    return sum(len(rows.names) for chunk in intake.take(messages) for rows in chunk)


def home_of_node_a() -> tuple[str, str]:
    """The partition that its batches come from."""
    one = message(batch("node-a", 0, [flow("10.0.1.5", "10.0.2.7", 80)]))
    return one.topic, one.partition


def test_the_next_holder_knows_what_came_and_the_former_forgets() -> None:
    (first, its), (second, others) = member("a"), member("b")
    assert taken(its, 0, 1, 3) == 3
    home = home_of_node_a()
    note = first.note(home, 5, 3)
    second.take_over({home: (3, note)}, set())
    assert taken(others, 1, 3) == 0
    assert taken(others, 2, 4) == 2
    first.take_over({}, set())
    assert its.tracks(home) == []
    assert its.missing() == {}


def test_who_left_a_partition_itself_goes_by_its_own_memory() -> None:
    one, its = member("a")
    assert taken(its, 0) == 1
    home = home_of_node_a()
    one.take_over({home: (1, "")}, {home})
    assert taken(its, 0) == 0


def test_a_member_learns_of_its_last_snapshot_though_others_have_settled_since() -> None:
    (first, _), (second, _) = member("a"), member("b")
    home = ("topic", "0")
    second.take_over({home: (10, first.note(home, 7, 10))}, set())
    notes = {home: second.note(home, 3, 20)}
    assert first.settled_in(notes) == 7
    assert second.settled_in(notes) == 3
    assert member("c")[0].settled_in(notes) is None


def test_what_a_node_has_left_in_the_partition_of_before_goes_along_with_that() -> None:
    """Its collector began anew with more partitions; what lay in its spool was sent to the one of before, and is sent
    there again."""
    (first, its), (second, others) = member("a"), member("b")
    topic, _ = home_of_node_a()
    assert taken(its, 0, 1, partition="0") == 2
    assert taken(its, 0, epoch=2, partition="1") == 1
    assert its.nodes("flows", {(topic, "1")}) == {"node-a"}
    assert its.nodes("flows", {(topic, "0")}) == set()
    note = first.note((topic, "0"), 5, 2)
    first.take_over({(topic, "1"): (1, "")}, {(topic, "1")})
    second.take_over({(topic, "0"): (2, note)}, set())
    assert taken(others, 1, 2, partition="0") == 1
    assert taken(its, 0, epoch=2, partition="1") == 0
    assert its.missing() == {"node-a": 0}


def test_of_a_snapshot_of_the_version_before_all_epochs_are_where_the_node_was_last() -> None:
    (_, its), (_, others) = member("a"), member("b")
    topic, _ = home_of_node_a()
    assert taken(its, 0, partition="0") == taken(its, 0, epoch=2, partition="1") == 1
    state = its.state()
    del state["homes_of_epochs"]
    assert state["homes"] == [["node-a", "flows", topic, "1"]]
    others.restore(state)
    assert others.tracks((topic, "0")) == []
    assert [track[2] for track in others.tracks((topic, "1"))] == [1, 2]


def test_what_a_member_settled_behind_its_last_readable_snapshot_is_known_to_it_alone() -> None:
    """From where on it had the partition without another between."""
    (first, _), (second, _) = member("a"), member("b")
    home = ("topic", "0")
    first.take_over({home: (4, "")}, set())
    first.take_over({home: (10, first.note(home, 6, 10))}, {home})
    note = first.note(home, 7, 12)
    assert first.unkept({home: note}, 6) == {home: (4, 12)}
    assert first.unkept({home: note}, 7) == second.unkept({home: note}, 0) == {}
    second.take_over({home: (12, note)}, set())
    note = second.note(home, 3, 20)
    assert first.unkept({home: note}, 6) == {home: (4, 12)}
    assert second.unkept({home: note}, 0) == {home: (12, 20)}
    first.take_over({home: (20, note)}, set())
    assert first.unkept({home: first.note(home, 9, 25)}, 6) == {home: (20, 25)}


def test_a_note_of_the_version_before_tells_of_no_spans() -> None:
    first, _ = member("a")
    text = base64.b85encode(zlib.compress(b'[{"a":7},[]]')).decode()
    assert first.settled_in({("topic", "0"): text}) == 7
    assert first.unkept({("topic", "0"): text}, 6) == {}


def test_a_note_that_is_too_long_loses_ended_epochs_first() -> None:
    tracks = [
        Track(f"node-{node}", "flows", 1_700_000_000_000_000_000 + (node * 7919 + epoch * 104_729) ** 2, 0, [[0, node]])
        for node in range(100)
        for epoch in range(8)
    ]
    text = Note({"a": 1}, tracks).text()
    assert len(text) <= MAX_TEXT
    note = parse_note(text)
    assert note.settled == {"a": 1}
    assert {track.node for track in note.tracks} == {f"node-{n}" for n in range(100)}
    assert [track.epoch for track in note.tracks] == [track.epoch for track in tracks[7::8]]


def test_what_others_left_there_is_no_note() -> None:
    for text in ("", "offset of a tool", "é", "0" * 4_000):
        assert parse_note(text) == Note()
