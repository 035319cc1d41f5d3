"""The seeds of `make fuzz` are taken by what they are for, so a run begins behind the first checks."""

from __future__ import annotations

import pytest

from collector.sources import pcap
from pipeline.decode import decode
from tests.fuzz.targets import BATCHES, TARGETS
from tests.pipeline.batches_for_tests import stream_message


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_their_beginnings_break_no_promise(name: str) -> None:
    for seed in TARGETS[name].seeds():
        for cut in {len(seed), len(seed) // 2, 1, 0}:
            TARGETS[name].run(seed[:cut])


def test_seeds_are_sound() -> None:
    assert [pcap.contents(seed, "").packets for seed in TARGETS["capture"].seeds()] == [5, 3, 2, 2]
    for source, seed in zip(BATCHES, TARGETS["stream"].seeds(), strict=True):
        assert decode(stream_message(seed, source)).frame.height == source.rows
