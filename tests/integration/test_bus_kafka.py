"""What is Kafka's own: bombs, malformed record batches, outages, refusals."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.net.transport import KafkaTCPTransport

from pipeline.bus import Message, Places, Reader, kafka, open_reader
from pipeline.bus.kafka_group import KafkaMember
from pipeline.bus.share import Share
from pipeline.bus.topics import QUARANTINE_TOPIC
from pipeline.errors import PermanentError, TransientError
from tests.kafka_broker import KafkaBroker
from tests.pipeline.batches_for_tests import batch
from tests.pipeline.bus.buses import KafkaBus, put, read, read_to_end, refused_connections

pytestmark = pytest.mark.kafka


@pytest.fixture
def reader(bus: KafkaBus) -> Iterator[Reader]:
    reader = bus.reader()
    reader.start()
    yield reader
    reader.stop()


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_what_kafka_compressed_is_flawed_and_never_inflated(bus: KafkaBus, reader: Reader, codec: str) -> None:
    producer = bus.producer(compression_type=codec)
    producer.send(bus.topic, key=b"node1", value=bytes(6_000_000)).get(30)
    producer.close()
    peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    put(bus, batch(node="node1"))
    bomb, good = read(reader, 2)
    assert (bomb.flaw, good.flaw) == ("inflate", "")
    assert len(bomb.value) < 64 * 1024
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_before < 5_000  # KiB; inflated it is 6 MB


def test_the_offset_advances_behind_a_compressed_batch(bus: KafkaBus) -> None:
    producer = bus.producer(compression_type="gzip", linger_ms=200)
    for _ in range(3):  # one record batch of three records
        producer.send(bus.topic, key=b"node1", value=b"inside")
    producer.flush()
    producer.close()
    first = bus.reader()
    first.start()
    assert [m.flaw for m in read(first, 1)] == ["inflate"]
    first.commit()
    first.stop()
    put(bus, batch(node="node1"))
    second = bus.reader()
    second.start()
    assert [(m.flaw, m.offset) for m in read(second, 1)] == [("", 3)]
    second.stop()


def test_a_commit_waits_for_what_was_put_aside(bus: KafkaBus, reader: Reader) -> None:
    bus.put("node1", {}, bytes(500_000))
    (message,) = read(reader, 1)
    consumer = KafkaConsumer(bootstrap_servers=bus.bootstrap)

    def held() -> int:
        partitions = [
            TopicPartition(QUARANTINE_TOPIC, p) for p in consumer.partitions_for_topic(QUARANTINE_TOPIC) or ()
        ]
        return sum(consumer.end_offsets(partitions).values()) if partitions else 0

    before = held()
    for _ in range(50):
        reader.quarantine(message, "headers")
    reader.commit()
    assert held() - before == 50
    consumer.close()


def test_an_empty_message_is_a_message(bus: KafkaBus, reader: Reader) -> None:
    bus.put("node1", {}, b"")
    (message,) = read(reader, 1)
    assert (message.value, message.flaw, message.origin) == (b"", "", f"{bus.topic}/{message.partition}/0")


def test_answers_are_received_in_large_pieces(bus: KafkaBus, monkeypatch: pytest.MonkeyPatch) -> None:
    in_small_ones = 0
    receive = KafkaTCPTransport._sock_recv

    def counted(transport: KafkaTCPTransport) -> tuple[bytes, Exception | None]:
        nonlocal in_small_ones
        piece, error = receive(transport)
        in_small_ones += len(piece)
        return piece, error

    put(bus, batch(node="node1"))
    producer = bus.producer()
    producer.send(bus.topic, key=b"node1", value=bytes(500_000)).get(30)
    producer.close()
    monkeypatch.setattr(KafkaTCPTransport, "_sock_recv", counted)
    reader = bus.reader()
    reader.start()
    assert len(read(reader, 2)[1].value) == 500_000
    reader.stop()
    assert in_small_ones < 100_000  # of the connection that asks who the brokers are


def test_no_broker_is_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "CONNECT_SECONDS", 1.0)
    reader = open_reader("kafka://127.0.0.1:1", "group", ["topic"])
    with refused_connections(), pytest.raises(TransientError, match=r"127\.0\.0\.1:1"):
        reader.start()


def test_reading_goes_on_after_an_outage_without_loss_and_without_a_busy_loop() -> None:
    with refused_connections(), KafkaBroker() as broker:
        bus = KafkaBus(broker.bootstrap)
        reader = bus.reader()
        reader.start()
        put(bus, batch(seq=0))
        assert [m.headers["seq"] for m in read(reader, 1)] == [b"0"]
        reader.commit()
        broker.stop(graceful=False)
        cpu, wall = time.process_time(), time.monotonic()
        while time.monotonic() - wall < 2:
            _poll_through(reader)
        assert time.process_time() - cpu < 0.5
        broker.start()
        put(bus, batch(seq=1))
        got: list[Message] = []
        deadline = time.monotonic() + 90
        while not got and time.monotonic() < deadline:
            got = _poll_through(reader)
        assert [m.headers["seq"] for m in got] == [b"1"]
        reader.stop()
        bus.close()


def _poll_through(reader: Reader) -> list[Message]:
    try:
        return reader.poll(0.2)
    except TransientError:
        time.sleep(0.1)
        return []


def shared(bus: KafkaBus, ordinal: int, of: int, topics: Sequence[str] = ()) -> Reader:
    url = f"kafka://{bus.bootstrap}"
    return open_reader(url, f"shared-{bus.topic}", [bus.topic, *topics], share=Share(ordinal, of))


def test_fixed_shares_read_every_message_once_and_go_on_after_their_commits(bus: KafkaBus) -> None:
    nodes = [f"node{n}" for n in range(12)]
    for node in nodes:
        put(bus, batch(node=node))
    readers = [shared(bus, ordinal, 2) for ordinal in range(2)]
    for reader in readers:
        reader.start()
    got = [read_to_end(reader) for reader in readers]
    assert sorted(m.key.decode() for part in got for m in part) == sorted(nodes)
    assert all(int(m.partition) % 2 == ordinal for ordinal, part in enumerate(got) for m in part)
    for reader in readers:
        assert reader.caught_up()
        reader.commit()
        reader.stop()
    put(bus, batch(node="node0", seq=1))
    again = [shared(bus, ordinal, 2) for ordinal in range(2)]
    for reader in again:
        reader.start()
    assert [m.headers["seq"] for reader in again for m in read_to_end(reader)] == [b"1"]
    for reader in again:
        reader.stop()


def test_a_share_keeps_no_places_of_partitions_that_are_anothers(bus: KafkaBus) -> None:
    """They would be told again when the number of shares changes back, and what came between would be read twice."""
    reader = shared(bus, 0, 2)
    reader.start({bus.topic: {"0": 0, "1": 0, "2": 0}})
    assert set(reader.places()[bus.topic]) == {"0", "2"}
    reader.stop()


def test_what_is_gone_before_it_is_read_is_counted_and_does_not_wait(bus: KafkaBus) -> None:
    first = bus.reader()
    first.start()
    put(bus, batch(node="node1"))
    (read_once,) = read(first, 1)
    places = first.places()
    first.stop()
    for seq in range(1, 6):
        put(bus, batch(node="node1", seq=seq))
    admin = KafkaAdminClient(bootstrap_servers=bus.bootstrap)
    admin.delete_records({TopicPartition(bus.topic, int(read_once.partition)): 4})
    admin.close()
    second = open_reader(f"kafka://{bus.bootstrap}", f"group-{bus.topic}", [bus.topic], share=Share(0, 1))
    second.start(places)
    assert [message.offset for message in read(second, 2)] == [4, 5]
    assert second.lost() == {bus.topic: 3}
    assert second.lost() == {bus.topic: 0}, "told once"
    second.stop()
    admin = KafkaAdminClient(bootstrap_servers=bus.bootstrap)
    admin.delete_records({TopicPartition(bus.topic, int(read_once.partition)): 6})
    admin.close()
    third = open_reader(f"kafka://{bus.bootstrap}", f"group-{bus.topic}", [bus.topic], share=Share(0, 1))
    third.start(places)
    deadline = time.monotonic() + 60
    while third.places() == places and time.monotonic() < deadline:
        assert third.poll(0.3) == []
    assert third.lost() == {bus.topic: 5}
    assert third.lag() == {bus.topic: 0}, "nothing waits, though nothing has come"
    third.stop()


@pytest.mark.parametrize("share", [None, Share(0, 1)])
def test_where_a_log_was_cut_while_nobody_read_reading_goes_on_where_it_parts(share: Share | None) -> None:
    """And not at the number up to which the log of before was read, which others have by now."""

    def reader(places: Places | None = None) -> Reader:
        reader = open_reader(f"kafka://{broker.bootstrap}", "cut", [bus.topic], share=share)
        if isinstance(reader, KafkaMember):
            holder: Any = SimpleNamespace(note=lambda *_: "", take_over=lambda *_: None)
            reader.attend(holder)
        reader.start(places)
        return reader

    with refused_connections(), KafkaBroker() as broker:
        bus = KafkaBus(broker.bootstrap)
        for seq in range(5):
            put(bus, batch(node="node1", seq=seq))
        bus.close()
        first = reader()
        partition = read(first, 5)[0].partition
        places = first.places()
        if isinstance(first, KafkaMember):
            first.settle(1)
        first.stop()
        broker.stop(graceful=False)
        broker.cut(bus.topic, int(partition), 3)
        broker.start()
        bus.put_anew(batch(node="node1", seq=seq) for seq in range(5, 10))
        second = reader(places)
        assert [message.offset for message in read(second, 5)] == [3, 4, 5, 6, 7]
        assert second.places()[bus.topic][partition] == 8
        second.stop()


def test_a_share_beyond_the_partitions_has_nothing_to_do(bus: KafkaBus) -> None:
    reader = shared(bus, 5, 6)
    reader.start()
    assert read(reader, 1, polls=8) == []
    assert reader.caught_up()
    reader.stop()


def test_a_fixed_share_of_topics_that_are_divided_differently_is_refused(bus: KafkaBus) -> None:
    other = f"other-{bus.topic}"
    admin = KafkaAdminClient(bootstrap_servers=bus.bootstrap)
    admin.create_topics([NewTopic(other, num_partitions=2)])
    admin.wait_for_topics([other])
    admin.close()
    reader = shared(bus, 0, 1, [other])
    reader.start()
    with pytest.raises(PermanentError, match="different numbers of partitions"):
        read(reader, 1)
    reader.stop()


def test_a_member_whose_polls_end_before_the_group_has_agreed_joins_it_once(bus: KafkaBus) -> None:
    """At first it knows no topics, so it parts none and has to part them anew: twice, over several polls each."""
    put(bus, batch(node="node1"))
    reader = bus.reader("hasty")
    reader.start()
    deadline = time.monotonic() + 60
    while not reader.poll(0.002):
        assert time.monotonic() < deadline, "the group gave it nothing"
        time.sleep(0.02)
    assert reader._consumer.group_metadata().generation_id <= 3  # type: ignore[attr-defined]
    reader.stop()
