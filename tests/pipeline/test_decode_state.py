"""State batches at the same door as flows: what is theirs alone passes, and nothing else does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from msgspec.structs import replace as changed_message

from collector.schema import STATE, TABLES, BatchError
from pipeline.bus import Message
from pipeline.decode import decode
from tests.pipeline.shipments import NOW, message
from tests.pipeline.small_cluster import pod
from tests.pipeline.state_batches import put, state

BODY = put(NOW, pod("a", "node-a", "10.0.1.5"))


def carried(**changed: Any) -> Message:
    return message(state(1, 0, [{**BODY, **changed}]))


def read(carrier: Message) -> list[dict[str, Any]]:
    return decode(carrier, {STATE.name: STATE}).frame.drop("node").to_dicts()


def test_a_body_may_be_long_and_a_key_may_have_a_slot() -> None:
    row = {**BODY, "body": BODY["body"] + " " * 100_000}
    sent = message(replace(state(1, 0, [row]), slot=17))
    assert sent.key == b"cluster-watcher/17"
    assert read(sent) == [row]


def test_a_reader_of_flows_refuses_state() -> None:
    with pytest.raises(BatchError) as caught:
        decode(carried(), TABLES)
    assert caught.value.reason == "table"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"name": "n" * 254}, "values"),
        ({"namespace": "n" * 129}, "values"),
        ({"op": 4}, "values"),
        ({"time": -1}, "values"),
    ],
)
def test_values_that_cannot_be_are_refused(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(BatchError) as caught:
        read(carried(**changed))
    assert caught.value.reason == reason


def test_another_watchers_key_is_refused() -> None:
    with pytest.raises(BatchError) as caught:
        read(changed_message(carried(), key=b"somebody/17"))
    assert caught.value.reason == "node"
