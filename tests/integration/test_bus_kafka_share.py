"""Fixed shares that are cut anew while all stand: a partition that comes back was others' meanwhile."""

from __future__ import annotations

import pytest

from pipeline.bus import Message, Places, Reader, ShareReader, open_reader
from pipeline.bus.share import Share
from tests.pipeline.batches_for_tests import batch
from tests.pipeline.bus.buses import KafkaBus, put, read_to_end

pytestmark = pytest.mark.kafka

NODES = [f"node{number}" for number in range(12)]
"""Some in each of the three partitions."""


def shared(bus: KafkaBus, ordinal: int, of: int) -> Reader:
    return open_reader(f"kafka://{bus.bootstrap}", f"shared-{bus.topic}", [bus.topic], share=Share(ordinal, of))


def ship(bus: KafkaBus, seq: int = 0) -> None:
    """A batch of each node."""
    for node in NODES:
        put(bus, batch(node=node, seq=seq))


def read_on(reader: Reader, places: Places | None = None) -> tuple[list[Message], Places]:
    """What it reads from the places on, and where it stands then; it ends in order."""
    reader.start(places)
    found = read_to_end(reader)
    last = reader.places()
    reader.commit()
    reader.stop()
    return found, last


def test_a_share_that_comes_back_goes_on_behind_those_who_had_it_meanwhile(bus: KafkaBus) -> None:
    """Its place is an old one, though nobody lost anything; that of a partition it has had all the time is not."""
    ship(bus)
    whole, places = read_on(shared(bus, 2, 3))
    ship(bus, 1)
    meanwhile, _ = read_on(shared(bus, 0, 2))
    assert len([message for message in meanwhile if message.partition == "2"]) == len(whole)
    put(bus, batch(node=whole[0].key.decode(), seq=2))
    back = shared(bus, 2, 3)
    assert isinstance(back, ShareReader)
    found, places = read_on(back, places)
    assert [message.headers["seq"] for message in found] == [b"2"]
    assert back.gone == {(bus.topic, "2")}
    again = shared(bus, 2, 3)
    assert isinstance(again, ShareReader)
    assert read_on(again, places) == ([], places)
    assert again.gone == set()


def test_what_a_share_has_committed_itself_does_not_move_its_place(bus: KafkaBus) -> None:
    """Where its last snapshot was lost, what that had is read again."""
    ship(bus)
    _, places = read_on(shared(bus, 2, 3))
    ship(bus, 1)
    found, _ = read_on(shared(bus, 2, 3), places)
    assert [message.offset for message in read_on(shared(bus, 2, 3), places)[0]] == [m.offset for m in found]
    assert found


def test_of_another_cut_what_is_in_another_share_is_gone(bus: KafkaBus) -> None:
    reader = shared(bus, 0, 2)
    reader.start({bus.topic: {"0": 0, "1": 0, "2": 0}})
    assert isinstance(reader, ShareReader)
    assert reader.gone == {(bus.topic, "1")}
    reader.stop()
