"""A log of Kafka that is cut under whoever reads it: its broker lost power, or a replica without its end leads."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest

from pipeline.bus import Places, Reader, open_reader
from pipeline.bus.share import Share
from pipeline.errors import TransientError
from tests.kafka_broker import KafkaBroker
from tests.pipeline.batches_for_tests import batch
from tests.pipeline.bus.buses import KafkaBus, put, read, refused_connections

pytestmark = pytest.mark.kafka


def test_who_ends_before_more_comes_leaves_the_place_where_the_logs_part() -> None:
    """And not the number up to which the log of before was read, which others have by now."""

    def reader(places: Places | None = None) -> Reader:
        reader = open_reader(f"kafka://{broker.bootstrap}", "cut", [bus.topic], share=Share(0, 1))
        reader.start(places)
        return reader

    with refused_connections(), KafkaBroker() as broker:
        bus = KafkaBus(broker.bootstrap)
        for seq in range(5):
            put(bus, batch(node="node1", seq=seq))
        first = reader()
        partition = read(first, 5)[0].partition
        bus.close()
        broker.stop(graceful=False)
        broker.cut(bus.topic, int(partition), 3)
        broker.start()
        deadline = time.monotonic() + 60
        while first.places()[bus.topic][partition] != 3 and time.monotonic() < deadline:
            with suppress(TransientError):
                assert first.poll(0.3) == []
        places = first.places()
        first.stop()
        bus.put_anew(batch(node="node1", seq=seq) for seq in range(5, 10))
        second = reader(places)
        assert [message.offset for message in read(second, 5)] == [3, 4, 5, 6, 7]
        second.stop()
