"""Topics that are deleted and made anew, or of another cluster, under a pipeline with snapshots: their messages count
from 0 again, and none of them is passed over for having a number that was read before.

With a fixed share of partitions, batches of before that are shipped again are known by their names.

And topics that have given up messages before they were read: these are counted, and reading goes on with what there is.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import KafkaAdminClient, NewPartitions, NewTopic

from collector.schema import FLOWS, TABLES
from pipeline.bus.topics import QUARANTINE_TOPIC
from pipeline.query import scan_flows
from tests.faults.counts import IS_ALL
from tests.faults.members import Member, counted, until
from tests.kafka_broker import KafkaBroker
from tests.pipeline.shipments import batch, flow

pytestmark = pytest.mark.kafka

NODES: Final = {"node-a": "10.0.1.5", "node-b": "10.0.2.5"}
MANY: Final = {f"node-{number}": "10.0.1.5" for number in range(8)}
BEFORE: Final = 30
"""Batches of each node that are read before; more come after, so that all numbers of before are numbers again."""
AFTER: Final = 50
AGAIN: Final = 5
"""Batches of before that come once more, as who was not answered ships them."""
PARTITIONS: Final = 2
CASES: Final = [("group", True), ("0/1", False), *([("group", False), ("0/1", True)] if IS_ALL else [])]
"""How partitions are shared, and whether the pipeline runs while topics are made anew, or only afterwards."""


class Topics:
    """The topics of one broker, and what was shipped to them."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._admin: Any = KafkaAdminClient(bootstrap_servers=bootstrap)
        self.make()

    def make(self) -> None:
        wanted = [NewTopic(table.topic, PARTITIONS, 1) for table in TABLES.values()]
        _insist(lambda: self._admin.create_topics([*wanted, NewTopic(QUARANTINE_TOPIC, PARTITIONS, 1)]))

    def make_anew(self) -> None:
        """Delete all of them, and make others of their names."""
        self._admin.delete_topics([*(table.topic for table in TABLES.values()), QUARANTINE_TOPIC])
        self.make()

    def divide(self) -> None:
        """Give each topic of tables twice as many partitions."""
        self._admin.create_partitions({table.topic: NewPartitions(2 * PARTITIONS) for table in TABLES.values()})

    def delete(self) -> None:
        """Let no message of flows be there any more, as retention does."""
        consumer: Any = KafkaConsumer(bootstrap_servers=self.bootstrap)
        ends = consumer.end_offsets([TopicPartition(FLOWS.topic, p) for p in range(PARTITIONS)])
        consumer.close()
        self._admin.delete_records(ends)

    def ship(self, first: int, until: int, epoch: int = 1, nodes: Mapping[str, str] = NODES) -> None:
        """Batches of one flow of each node, numbered so."""
        producer: Any = KafkaProducer(bootstrap_servers=self.bootstrap, metrics_enabled=False)
        for seq in range(first, until):
            for node, pod in nodes.items():
                one = batch(node, seq, [flow(pod, "10.96.0.5", 80, backend="10.0.1.5", flow_id=seq)], epoch=epoch)
                producer.send(one.topic, key=one.key, value=one.value, headers=list(one.headers().items()))
        producer.flush(60)
        producer.close()

    def close(self) -> None:
        self._admin.close()


def _insist(action: Callable[[], object]) -> None:
    """Do what a broker refuses until it has deleted topics of the same names."""
    deadline = time.monotonic() + 60
    while True:
        try:
            action()
        except (kafka_errors.TopicAlreadyExistsError, kafka_errors.UnknownTopicOrPartitionError):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        else:
            return


@pytest.fixture(scope="module")
def topics() -> Iterator[Topics]:
    settings = {"group.min.session.timeout.ms": "1000", "auto.create.topics.enable": "false"}
    with KafkaBroker(settings) as broker:
        topics = Topics(broker.bootstrap)
        yield topics
        topics.close()


@pytest.mark.parametrize(("partitions", "is_running"), CASES)
def test_of_topics_made_anew_all_is_read_and_nothing_counts_twice(
    topics: Topics, tmp_path: Path, partitions: str, *, is_running: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWATLAS_PIPELINE_PARTITIONS", partitions)
    monkeypatch.setenv("FLOWATLAS_PIPELINE_GROUP", tmp_path.name)
    again = 0 if partitions == "group" else AGAIN  # what a group knows of batches is beside its offsets, and goes too
    topics.make_anew()
    member = Member(tmp_path / "member", f"kafka://{topics.bootstrap}", tmp_path / "lake")
    try:
        member.start()
        topics.ship(0, BEFORE)
        until(lambda: member.rows() == BEFORE * len(NODES), member.stuck)
        if not is_running:
            member.close()
        topics.make_anew()
        topics.ship(BEFORE - again, BEFORE + AFTER)
        if not is_running:
            member.start()
        until(lambda: member.rows() >= (BEFORE + AFTER) * len(NODES), member.stuck)
        total = (BEFORE + AFTER) * len(NODES)
        sums = counted([member])
        assert sums["flowatlas_pipeline_rows_total"] == total
        assert sums["flowatlas_pipeline_missing_batches_total"] == 0
        assert sums["flowatlas_pipeline_duplicate_batches_total"] >= again * len(NODES)
        assert member.fallen == []
        assert "is another topic than the one that was read" in member.log()
        until(lambda: _written(tmp_path / "lake") == total, member.stuck)
    finally:
        member.close()


@pytest.mark.parametrize("partitions", ["group", "0/1"])
def test_what_is_gone_before_it_is_read_is_counted_once_and_reading_goes_on(
    topics: Topics, tmp_path: Path, partitions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No number is missing among those that came: collectors have begun anew meanwhile."""
    monkeypatch.setenv("FLOWATLAS_PIPELINE_PARTITIONS", partitions)
    monkeypatch.setenv("FLOWATLAS_PIPELINE_GROUP", tmp_path.name)
    topics.make_anew()
    member = Member(tmp_path / "member", f"kafka://{topics.bootstrap}", tmp_path / "lake")
    lost = BEFORE * len(NODES)
    try:
        member.start()
        topics.ship(0, BEFORE)
        until(lambda: member.rows() == BEFORE * len(NODES), member.stuck)
        member.send(signal.SIGKILL)
        topics.ship(0, BEFORE, epoch=2)
        topics.delete()
        for shipped in (0, AGAIN):  # nothing comes after it; and then something, to who begins once more
            topics.ship(BEFORE, BEFORE + shipped, epoch=2)
            member.start()
            until(lambda: member.rows() == (BEFORE + shipped) * len(NODES) and _lost(member) == lost, member.stuck)  # noqa: B023
            member.send(signal.SIGTERM)
            assert member.ended() == 0
        assert counted([member])["flowatlas_pipeline_missing_batches_total"] == 0
        assert member.fallen == []
    finally:
        member.close()


def test_of_nodes_that_have_moved_to_new_partitions_each_batch_is_known_to_who_reads_both(
    topics: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWATLAS_PIPELINE_PARTITIONS", "group")
    monkeypatch.setenv("FLOWATLAS_PIPELINE_GROUP", tmp_path.name)
    topics.make_anew()
    members = [Member(tmp_path / f"member-{i}", f"kafka://{topics.bootstrap}", tmp_path / "lake") for i in range(2)]

    def stuck() -> list[str]:
        return [member.stuck() for member in members]

    try:
        for member in members:
            member.start()
        until(lambda: all(member.is_reading for member in members), stuck)
        topics.ship(0, 10, nodes=MANY)
        until(lambda: _rows(members) == 10 * len(MANY), stuck)
        topics.divide()
        topics.ship(10, 20, nodes=MANY)
        until(lambda: _rows(members) == 20 * len(MANY), stuck)
        members[1].look()
        members[1].send(signal.SIGTERM)
        assert members[1].ended() == 0
        topics.ship(20, 30, nodes=MANY)
        topics.ship(5, 15, nodes=MANY)  # again
        until(lambda: _duplicates(members) >= 10 * len(MANY) or _rows(members) > 30 * len(MANY), stuck)
        sums = counted(members)
        assert sums["flowatlas_pipeline_rows_total"] == 30 * len(MANY)
        assert sums["flowatlas_pipeline_missing_batches_total"] == 0
    finally:
        for member in members:
            member.close()


def test_a_share_that_was_killed_before_shares_were_cut_anew_has_told_how_far_it_was(
    topics: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWATLAS_PIPELINE_GROUP", tmp_path.name)
    topics.make_anew()
    members = [Member(tmp_path / f"member-{i}", f"kafka://{topics.bootstrap}", tmp_path / "lake") for i in range(2)]

    def stuck() -> list[str]:
        return [member.stuck() for member in members]

    try:
        monkeypatch.setenv("FLOWATLAS_PIPELINE_PARTITIONS", "0/1")
        members[0].start()
        for number in range(4):
            topics.ship(10 * number, 10 * number + 10, nodes=MANY)
            until(lambda: _rows(members) == 10 * (number + 1) * len(MANY), stuck)  # noqa: B023
        members[0].send(signal.SIGKILL)
        for number, member in enumerate(members):
            monkeypatch.setenv("FLOWATLAS_PIPELINE_PARTITIONS", f"{number}/2")
            member.start()
        topics.ship(40, 50, nodes=MANY)
        until(lambda: _rows(members) >= 50 * len(MANY), stuck)
        assert _rows(members) == 50 * len(MANY)
        assert all(member.rows() for member in members)
    finally:
        for member in members:
            member.close()


def _rows(members: list[Member]) -> int:
    return sum(member.rows() for member in members)


def _duplicates(members: list[Member]) -> int:
    for member in members:
        member.look()
    return counted(members)["flowatlas_pipeline_duplicate_batches_total"]


def _lost(member: Member) -> int:
    return counted([member])["flowatlas_bus_lost_messages_total"]


def _written(lake: Path) -> int:
    told = scan_flows(lake=lake).select(pl.len()).collect()
    return int(told.item())
