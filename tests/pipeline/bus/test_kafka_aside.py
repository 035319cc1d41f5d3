"""What others may have put into the quarantine's topic is listed as far as it says anything, and ends nobody."""

from __future__ import annotations

import pytest

from pipeline.bus import Message
from pipeline.bus.aside import Aside
from pipeline.bus.kafka_aside import _aside
from pipeline.bus.kafka_quarantine import noted_headers
from pipeline.bus.topics import QUARANTINE_TOPIC
from tests.pipeline.batches_for_tests import batch, message

SOUND = message(batch(), partition="7")
NOTED = noted_headers(SOUND, "schema_version")


def told(**changed: bytes) -> Aside:
    headers = {**NOTED, **{f"flowatlas-{name}": value for name, value in changed.items()}}
    found = _aside("0/1", Message(QUARANTINE_TOPIC, "0", 1, SOUND.key, headers, SOUND.value))
    assert found is not None
    return found


def test_what_a_pipeline_has_noted_is_told() -> None:
    assert (told().message, told().reason, told().is_whole) == (SOUND, "schema_version", True)
    assert told().at_ns == int(NOTED["flowatlas-time"])
    assert not told(whole=b"0").is_whole


def test_what_an_earlier_version_has_noted_is_told() -> None:
    headers = {name: NOTED[name] for name in NOTED.keys() - {"flowatlas-time", "flowatlas-whole"}}
    found = _aside("0/1", Message(QUARANTINE_TOPIC, "0", 1, SOUND.key, headers, SOUND.value))
    assert found is not None
    assert (found.message, found.at_ns, found.is_whole) == (SOUND, 0, True)


@pytest.mark.parametrize("number", [b"9" * 5_000, b"9" * 19, b"%d" % 2**63, b"-1", b"", b"\xb2", b"\xd9\xa3", b"1_0"])
def test_numbers_that_are_none_are_not_told(number: bytes) -> None:
    assert told(time=number).at_ns == 0
    assert told(origin=b"flowatlas.flows.v1/7/" + number).message.offset == 0
    assert not told(origin=b"flowatlas.flows.v1/" + number + b"/1").is_whole
