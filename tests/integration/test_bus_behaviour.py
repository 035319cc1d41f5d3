"""What every bus promises the engine, shown on the folder of segments and on a real Kafka."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from collector.schema import BatchError
from pipeline.bus import Reader
from pipeline.decode import decode
from pipeline.errors import ConfigError
from tests.pipeline.batches_for_tests import batch
from tests.pipeline.bus.buses import Bus, FileBus, KafkaBus, put, read


@pytest.fixture(params=["file", pytest.param("kafka", marks=pytest.mark.kafka)])
def bus(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bus]:
    if request.param == "file":
        yield FileBus(tmp_path / "bus")
    else:
        kafka = KafkaBus(request.getfixturevalue("kafka_broker"))
        yield kafka
        kafka.close()


@pytest.fixture
def reader(bus: Bus) -> Iterator[Reader]:
    reader = bus.reader()
    reader.start()
    yield reader
    reader.stop()


def test_messages_come_whole_and_in_order_of_each_node(bus: Bus, reader: Reader) -> None:
    sent = [batch(node=f"node{seq % 3}", seq=seq) for seq in range(30)]
    for one in sent:
        put(bus, one)
    got = read(reader, 30)
    for node in ("node0", "node1", "node2"):
        expected = [(one.key, one.headers(), one.value) for one in sent if one.node == node]
        assert [(m.key, dict(m.headers), m.value) for m in got if m.key == node.encode()] == expected
    for partition in {m.partition for m in got}:
        offsets = [m.offset for m in got if m.partition == partition]
        assert offsets == list(range(len(offsets)))
    assert {(m.topic, m.flaw) for m in got} == {(bus.topic, "")}


def test_a_later_reader_of_the_group_goes_on_after_the_commit(bus: Bus) -> None:
    for seq in range(4):
        put(bus, batch(seq=seq))
    first = bus.reader()
    first.start()
    assert len(read(first, 4)) == 4
    first.commit()
    first.stop()
    put(bus, batch(seq=4))
    second = bus.reader()
    second.start()
    got = read(second, 1)
    second.stop()
    assert [(m.headers["seq"], m.offset) for m in got] == [(b"4", 4)]


def test_a_reader_goes_on_at_the_places_that_it_is_told_whatever_was_committed(bus: Bus) -> None:
    """Places go through JSON; they count before the group's commit and behind it."""
    for seq in range(4):
        put(bus, batch(seq=seq))
    first = bus.reader()
    first.start()
    assert first.places() == {}
    assert len(read(first, 4)) == 4
    places = json.loads(json.dumps(first.places()))
    put(bus, batch(seq=4))
    assert len(read(first, 1)) == 1
    first.commit()
    first.stop()
    second = bus.reader()
    second.start(places)
    assert json.loads(json.dumps(second.places())) == places
    got = read(second, 1)
    second.stop()
    assert [(m.headers["seq"], m.offset) for m in got] == [(b"4", 4)]
    put(bus, batch(seq=5))
    ahead = bus.reader("another")
    ahead.start(places)
    assert [m.headers["seq"] for m in read(ahead, 2)] == [b"4", b"5"]
    ahead.stop()


def test_places_of_another_bus_are_refused(bus: Bus) -> None:
    reader = bus.reader()
    with pytest.raises(ConfigError, match="bus: these are no"):
        reader.start({bus.topic: {"node": "nowhere"}})
    reader.stop()


def test_a_commit_of_a_mark_leaves_what_was_polled_after_it(bus: Bus) -> None:
    for seq in range(2):
        put(bus, batch(seq=seq))
    first = bus.reader()
    first.start()
    assert len(read(first, 2)) == 2
    mark = first.mark()
    for seq in range(2, 4):
        put(bus, batch(seq=seq))
    assert len(read(first, 2)) == 2
    first.commit(mark)
    first.stop()
    second = bus.reader()
    second.start()
    got = read(second, 2)
    second.stop()
    assert [(m.headers["seq"], m.offset) for m in got] == [(b"2", 2), (b"3", 3)]


def test_what_was_not_committed_is_delivered_again_at_the_same_offsets(bus: Bus) -> None:
    for seq in range(3):
        put(bus, batch(seq=seq))
    seen = []
    for _ in range(2):
        reader = bus.reader()
        reader.start()
        seen.append(read(reader, 3))
        reader.stop()
    assert len(seen[0]) == 3
    assert seen[0] == seen[1]


def test_groups_do_not_disturb_each_other(bus: Bus, reader: Reader) -> None:
    put(bus, batch())
    assert len(read(reader, 1)) == 1
    reader.commit()
    other = bus.reader("other")
    other.start()
    assert len(read(other, 1)) == 1
    other.stop()


def test_a_node_that_appears_later_is_read(bus: Bus, reader: Reader) -> None:
    put(bus, batch(node="node1"))
    assert [m.key for m in read(reader, 1)] == [b"node1"]
    put(bus, batch(node="newcomer"))
    assert [m.key for m in read(reader, 1)] == [b"newcomer"]


def test_caught_up_means_that_nothing_sent_before_the_poll_is_unread(bus: Bus, reader: Reader) -> None:
    for round_ in range(3):
        for seq in range(5):
            put(bus, batch(node=f"node{seq}", seq=5 * round_ + seq))
        got = []
        for _ in range(100):
            got += reader.poll(0.3)
            if reader.caught_up():
                break
        assert len(got) == 5


def test_lag_is_what_was_sent_and_not_polled(bus: Bus, reader: Reader) -> None:
    """More than a poll takes from one node, so that some waits behind the first."""
    assert not any(reader.lag().values())
    for _ in range(20):
        bus.put("node1", {}, bytes(900_000))
    got, seen = 0, set()
    while got < 20:
        got += len(reader.poll(10))
        seen.add(reader.lag().get(bus.topic, 0))
        assert reader.lag().get(bus.topic, 0) in ({20 - got} if got else {0})
    assert len(seen) > 1


def test_poll_comes_back_empty_in_time_when_nothing_is_there(bus: Bus, reader: Reader) -> None:
    put(bus, batch())
    read(reader, 1)
    assert reader.poll(0.2) == []


def test_foreign_messages_are_passed_on_for_decode_to_refuse(bus: Bus, reader: Reader) -> None:
    good = batch()
    bus.put("node1", {}, b"")
    bus.put("node1", {"schema": b"1"}, b"not ours")
    bus.put("node1", good.headers(), good.value[:-1])
    put(bus, good)
    reasons = []
    for message in read(reader, 4):
        try:
            decode(replace(message, topic=good.topic))  # on Kafka each test has a topic of its own
            reasons.append("")
        except BatchError as error:
            reasons.append(error.reason)
    assert reasons == ["headers", "headers", "checksum", ""]


def test_an_oversized_message_is_flawed_cut_and_passed_behind(bus: Bus, reader: Reader) -> None:
    bus.put("node1", {}, b"x" * (3 * 1024 * 1024))
    put(bus, batch())
    large, good = read(reader, 2)
    assert (large.flaw, len(large.value)) == ("oversized", 64 * 1024)
    assert good.flaw == ""


def test_quarantine_keeps_the_bytes_the_reason_and_the_origin(bus: Bus, reader: Reader) -> None:
    junk = bytes(range(256)) * 100
    bus.put("node1", {}, junk)
    (message,) = read(reader, 1)
    reader.quarantine(message, "headers")
    reader.commit()
    assert bus.quarantined() == [{"reason": "headers", "origin": message.origin, "value": junk}]


def test_stop_is_safe_twice_and_before_start(bus: Bus) -> None:
    reader = bus.reader()
    reader.stop()
    reader.start()
    reader.stop()
    reader.stop()
