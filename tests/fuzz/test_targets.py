"""The seeds of `make fuzz` are taken by what they are for, so a run begins behind the first checks."""

from __future__ import annotations

import random

import pytest

from collector.sources import pcap
from pipeline.decode import decode
from tests.faults.counts import often
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


def test_datagrams_of_netlink_that_lie_break_no_promise() -> None:
    """Flipped bits, and lengths of messages and attributes that are anything."""
    chance = random.Random(15)
    seeds = list(TARGETS["netlink"].seeds())
    for _ in range(often(2_000, 200_000)):
        lie = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(lie)) & ~3
            if chance.random() < 0.5:
                length = chance.choice((0, 1, 3, 4, 5, len(lie), 0xFFFF, chance.randrange(1 << 16)))
                lie[at : at + 2] = length.to_bytes(2, "little")
            else:
                lie[chance.randrange(len(lie))] ^= 1 << chance.randrange(8)
        TARGETS["netlink"].run(bytes(lie[: chance.randint(0, len(lie))] if chance.random() < 0.2 else lie))
