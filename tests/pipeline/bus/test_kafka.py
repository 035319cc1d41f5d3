"""What a reader of Kafka says without a broker to ask; all else is in tests/integration/test_bus_kafka.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from kafka.structs import ConsumerGroupMetadata, MemberState

from pipeline.bus.kafka import KafkaReader


@pytest.mark.parametrize("state", [MemberState.UNJOINED, MemberState.REBALANCING, MemberState.STABLE])
def test_who_was_given_no_partition_has_all_of_them_read_once_the_group_has_agreed(state: str) -> None:
    reader = KafkaReader("kafka://127.0.0.1:9", "g", ["t"])
    told = ConsumerGroupMetadata("g", state=state)
    reader._consumer = SimpleNamespace(assignment=set, group_metadata=lambda: told)
    assert reader.caught_up() is (state == MemberState.STABLE)
