"""Blocks of captured packets, as the ring gives them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scapy.packet import Packet

from collector.packets.octets import Octets
from collector.packets.ring import Captured

WALL_NS = 1_790_000_000_000_000_000
"""When the blocks begin; a packet comes each microsecond."""


def captured(
    packets: Sequence[Packet | bytes], *, ifindex: int = 3, outgoing: bool = False, snap: int = 256
) -> Captured:
    whole = [bytes(packet) for packet in packets]
    frames = [packet[:snap] for packet in whole]
    ends = np.cumsum([len(frame) for frame in frames])
    count = len(frames)
    return Captured(
        octets=Octets(b"".join(frames)),
        start=np.concatenate([[0], ends[:-1]]).astype(np.int64),
        end=ends.astype(np.int64),
        size=np.array([len(packet) for packet in whole], np.int64),
        time=WALL_NS + 1000 * (1 + np.arange(count)),
        ifindex=np.full(count, ifindex, np.uint32),
        hardware=np.ones(count, np.uint16),
        is_outgoing=np.full(count, outgoing),
    )
