"""The ring against a real kernel. Needs root."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator

import pytest

from collector.netlink import in_namespace
from collector.packets.ring import Ring
from tests.collector.network import Network, routed_network

pytestmark = pytest.mark.root

TO = ("10.2.0.2", 9)
TIMES = 100
PATIENCE_S = 60.0


@pytest.fixture
def network() -> Iterator[Network]:
    with routed_network() as built:
        yield built


def test_what_came_before_now_is_there_however_late_the_kernel_is(network: Network) -> None:
    """It hands over a block after one tick of its timer or two, or much later on a busy machine."""
    chance = random.Random(9)
    ring = Ring(network.netns("node"), retire_ms=20, blocks=8, block_bytes=1 << 17)
    missed = 0
    with in_namespace(network.netns("node"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        ring.start()
        try:
            for number in range(TIMES):
                time.sleep(chance.uniform(0, 0.05))
                mark = b"number %d." % number
                sender.sendto(mark, TO)
                frames = [
                    captured.octets.part(start, end)
                    for captured in ring.until_now(PATIENCE_S)
                    for start, end in zip(captured.start.tolist(), captured.end.tolist(), strict=True)
                ]
                missed += not any(mark in frame for frame in frames)
        finally:
            ring.stop()
    assert missed == 0


def test_nothing_is_waited_for_where_nothing_came(network: Network) -> None:
    """Also once all blocks have been used."""
    ring = Ring(network.netns("node"), retire_ms=20, blocks=2, block_bytes=1 << 17)
    with in_namespace(network.netns("node"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        ring.start()
        try:
            for _ in range(5):
                sender.sendto(b"some", TO)
                assert list(ring.until_now(PATIENCE_S))
            began = time.monotonic()
            for _ in range(5):
                list(ring.until_now(PATIENCE_S))
            assert time.monotonic() - began < PATIENCE_S
        finally:
            ring.stop()
