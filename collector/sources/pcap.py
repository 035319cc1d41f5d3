"""Capture files: pcap and pcapng of any link type that the decoder knows, read once from beginning to end.

A file is mapped, not loaded, and decoded block by block, so memory follows the number of flows and not of packets.
What a file is, its first bytes say: a suffix can lie.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import ConfigError
from ..packets import flows, pcap, pcapng
from ..packets.decoder import Decoded, decode
from ..packets.kinds import LINK_TYPES
from ..packets.octets import Octets
from ..packets.records import Block, Capture, CutShortError


@dataclass(frozen=True, slots=True)
class Contents:
    """What a capture holds.

    Every packet is in `outer` and in `inner` once, or in `no_flow` by the reason. `unread` counts packets that are in a
    flow but were not read to their end, by the reason. `damage` says where the file stops making sense, else None.
    """

    packets: int
    outer: flows.Flows
    inner: flows.Flows
    no_flow: Mapping[str, int]
    unread: Mapping[str, int]
    damage: str | None


def read(path: Path) -> Contents:
    """Decode a capture file into one-way flows, whatever it contains.

    Raises ConfigError where the file cannot be opened or is no capture.
    """
    try:
        with path.open("rb") as file:
            data = _mapped(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    return contents(data, str(path))


def _mapped(file: BinaryIO) -> Capture:
    try:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # a pipe cannot be mapped, nor can an empty file
        return file.read()


def contents(data: Capture, name: str) -> Contents:
    """The same for bytes; `name` is what messages call them."""
    outer, inner = flows.Tally(), flows.Tally()
    no_flow: Counter[str] = Counter()
    unread: Counter[str] = Counter()
    packets = 0
    damage = None
    try:
        for part in decoded(data, name):
            packets += part.packets
            outer.add(flows.count(part.outer))
            inner.add(flows.count(part.inner, part.carriage))
            no_flow.update(part.no_flow)
            unread.update(part.unread)
    except CutShortError as error:
        damage = f"{name}: {error}"
    return Contents(packets, outer.total(), inner.total(), no_flow, unread, damage)


def decoded(data: Capture, name: str) -> Iterator[Decoded]:
    """The packets of a capture, decoded block by block.

    Raises ConfigError where it is none, and CutShortError after the last good block.
    """
    octets = Octets(data)
    for block in _blocks(data, name):
        yield decode(octets, block.start, block.end, LINK_TYPES[block.link_type])


def _blocks(data: Capture, name: str) -> Iterator[Block]:
    magic = data[:4]
    if magic == pcapng.MAGIC:
        return pcapng.blocks(data)
    if magic in pcap.MAGICS:
        return pcap.blocks(data)
    raise ConfigError(f"{name}: offset 0: neither pcap nor pcapng")
