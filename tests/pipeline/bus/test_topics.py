"""What is said about topics that are not as they should be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collector.schema import MAX_MESSAGE_BYTES, STATE, TABLES
from pipeline.bus.topics import QUARANTINE_TOPIC, differences, wanted_topics

WANTED = wanted_topics(partitions=6, replication=3)
RIGHT = {topic.name: topic for topic in WANTED}
FLOWS = TABLES["flows"].topic


def test_what_nodes_ship_is_divided_alike_and_what_is_told_once_is_not_divided() -> None:
    assert {topic.name for topic in WANTED} == {t.topic for t in TABLES.values()} | {STATE.topic, QUARANTINE_TOPIC}
    assert {RIGHT[table.topic].partitions for table in TABLES.values()} == {6}
    assert RIGHT[STATE.topic].partitions == 1
    assert RIGHT[STATE.topic].settings["cleanup.policy"] == "compact"
    assert all(int(topic.settings["max.message.bytes"]) > MAX_MESSAGE_BYTES for topic in WANTED)
    assert {topic.settings["min.insync.replicas"] for topic in WANTED} == {"2"}
    assert {topic.settings["min.insync.replicas"] for topic in wanted_topics(replication=1)} == {"1"}


def test_nothing_is_said_of_topics_that_are_right() -> None:
    assert list(differences(WANTED, RIGHT, "k:9092")) == []


@pytest.mark.parametrize(
    ("change", "what", "mend"),
    [
        ({"partitions": 3}, "has 3 partitions, not 6", "--alter --topic flowatlas.flows.v1 --partitions 6"),
        ({"partitions": 9}, "has 9 partitions, not 6", "--partitions 9"),
        ({"replication": 1}, "has 1 replicas, not 3", "kafka-reassign-partitions.sh --bootstrap-server k:9092"),
        (
            {"settings": {**RIGHT[FLOWS].settings, "retention.ms": "5"}},
            "has retention.ms 5, not 86400000",
            "--entity-name flowatlas.flows.v1 --add-config retention.ms=86400000",
        ),
        (
            {"settings": {**RIGHT[FLOWS].settings, "compression.type": "zstd"}},
            "has compression.type zstd, not uncompressed",
            "--add-config compression.type=uncompressed",
        ),
    ],
)
def test_a_difference_is_told_with_what_mends_it(change: dict[str, object], what: str, mend: str) -> None:
    found = {**RIGHT, FLOWS: replace(RIGHT[FLOWS], **change)}  # type: ignore[arg-type]
    (difference,) = differences(WANTED, found, "k:9092")
    assert (difference.topic, difference.what) == (FLOWS, what)
    assert mend in difference.mend


def test_a_missing_topic_is_told() -> None:
    (difference,) = differences(WANTED, {k: v for k, v in RIGHT.items() if k != QUARANTINE_TOPIC}, "k:1")
    assert difference.mend == "flowatlas topics create --bus kafka://k:1"
