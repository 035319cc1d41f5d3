"""Where the batches of an epoch go when topics are given more partitions."""

from __future__ import annotations

from pathlib import Path

from kafka.partitioner.default import murmur2

from collector.schema import Batch
from collector.sinks.kafka_partitions import Partitions

NODES = [f"node-{number}" for number in range(50)]


def batch(node: str, epoch: int, table: str = "flows") -> Batch:
    return Batch(table, node, epoch, 0, 1, 1, b"")


def as_clients_do(node: str, number: int) -> int:
    return int((murmur2(node.encode()) & 0x7FFFFFFF) % number)


def test_an_epoch_stays_in_its_partition_and_the_next_one_spreads_over_all() -> None:
    partitions = Partitions()
    for epoch, number, wanted in ((1, 2, 2), (1, 6, 2), (2, 6, 6), (1, 6, 2)):
        for node in NODES:
            assert partitions.of(batch(node, epoch), number) == as_clients_do(node, wanted)
            assert partitions.of(batch(node, epoch, "dns"), number) == as_clients_do(node, wanted)


def test_the_next_process_knows_where_the_last_one_sent_what_it_has_left(tmp_path: Path) -> None:
    file = tmp_path / "partitions"
    Partitions(file).of(batch("node-1", 1), 2)
    for epoch, wanted in ((1, 2), (2, 6), (1, 2)):
        assert [Partitions(file).of(batch(node, epoch), 6) for node in NODES] == [
            as_clients_do(node, wanted) for node in NODES
        ]


def test_of_many_epochs_the_last_are_known(tmp_path: Path) -> None:
    file = tmp_path / "partitions"
    for epoch in range(20):
        Partitions(file).of(batch("node-1", epoch), 2)
    assert len(file.read_text().split(",")) == 8
    assert Partitions(file).of(batch("node-1", 0), 6) == as_clients_do("node-1", 6)


def test_a_topic_with_fewer_partitions_is_used_as_it_is() -> None:
    partitions = Partitions()
    assert partitions.of(batch("node-1", 1), 6) == as_clients_do("node-1", 6)
    assert partitions.of(batch("node-1", 1), 2) == as_clients_do("node-1", 2)
    assert partitions.of(batch("node-1", 1), 6) == as_clients_do("node-1", 6)


def test_a_file_that_tells_nothing_or_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    for content in ("", "[]", '{"1": "x"}', '{"1": null}'):
        (tmp_path / "partitions").write_text(content)
        assert Partitions(tmp_path / "partitions").of(batch("node-1", 1), 6) == as_clients_do("node-1", 6)
    assert Partitions(tmp_path / "nowhere" / "partitions").of(batch("node-1", 1), 6) == as_clients_do("node-1", 6)
