"""What a member of a group goes on with by its own memory, and what by a note; tests/faults/test_groups.py has more."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import OffsetAndMetadata, TopicPartition

from pipeline.bus import Partition, kafka_group
from pipeline.bus.kafka_group import KafkaMember

HERE, THERE = TopicPartition("t", 0), TopicPartition("t", 1)


class Memory:
    """A holder that notes what it was told is ours."""

    def __init__(self) -> None:
        self.ours: list[set[Partition]] = []

    def note(self, partition: Partition, version: int, until: int) -> str:
        return ""

    def take_over(self, given: Mapping[Partition, tuple[int, str]], ours: Collection[Partition]) -> None:
        self.ours.append(set(ours))


def test_what_others_had_in_between_is_not_ours_though_they_read_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its batches were forgotten when it went: the note tells of them."""
    member, memory = KafkaMember("kafka://127.0.0.1:9", "g", ["t"]), Memory()
    consumer: Any = SimpleNamespace(seek=lambda *_: None, resume=lambda *_: None, pause=lambda *_: None)
    consumer._cluster = SimpleNamespace(topic_id=lambda _: None)
    consumer._subscription = SimpleNamespace(assignment={})
    member._consumer = consumer
    committed = {p: OffsetAndMetadata(5, "note", -1) for p in (HERE, THERE)}
    monkeypatch.setattr(kafka_group, "committed_of", lambda *_: committed)
    member.attend(memory)
    member._told = {HERE: 5, THERE: 5}  # by its snapshot
    for given in ({HERE, THERE}, {HERE}, {HERE, THERE}):
        member._go_on(given)
        assert member._given is not None
        member._take_over(member._given, memory)
        member._let_go(given)
    assert memory.ours == [{("t", "0"), ("t", "1")}, {("t", "0")}, {("t", "0")}]
