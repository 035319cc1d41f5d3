"""Batches inflated some at a time, side by side in one piece of memory.

As a rule a block is still in the processor's cache when its columns are taken from it. The invariant: what lies in a
block is the content of exactly one zstd frame a batch, of exactly the size that it declares.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import zstandard

from collector.schema import BatchError

from .envelope import Opened
from .pieces import Octets, Places

BLOCK_BYTES: Final = 4 * 1024 * 1024
"""About what is inflated at once."""
_ALIGNMENT: Final = 64
_CHECKSUM: Final = 4
"""The bit of a frame's descriptor that says that so many bytes of checksum are its last (RFC 8878, 3.1.1)."""
_HEADER: Final = 3
"""Bytes of a block's header: whether it is the last, its type, its size (RFC 8878, 3.1.1.2)."""
_REPEATED: Final = 1
"""The type of a block of one byte, which stands for as many as the block has bytes."""


class _Inflater(threading.local):
    """A decompressor of each thread's own; making one takes half as long as what it does with a small batch."""

    def __init__(self) -> None:
        self.zstd = zstandard.ZstdDecompressor()


_INFLATER: Final = _Inflater()


@dataclass(frozen=True, slots=True)
class Block:
    """The contents of some batches. `memory` is used again once the next block has been asked for."""

    batches: Sequence[Opened]
    memory: Octets
    starts: Places
    """Where each content begins: multiples of 64."""
    sizes: Places

    def content(self, number: int) -> memoryview:
        """The content of one batch."""
        start = int(self.starts[number])
        return self.memory.data[start : start + int(self.sizes[number])]


def inflated(opened: Sequence[Opened]) -> Iterator[Block]:
    """The contents of batches (one at least) in order, block by block. Raises BatchError with reason `inflate`."""
    memory = np.empty(0, np.uint8)
    for batches in _cut(opened):
        sizes = np.array([batch.size for batch in batches])
        rooms = (sizes // _ALIGNMENT + 1) * _ALIGNMENT  # more than what is declared, so that more is noticed
        ends = np.cumsum(rooms)
        if len(memory) < ends[-1]:
            memory = np.empty(ends[-1], np.uint8)
        view = memory.data
        for batch, start, end in zip(batches, (ends - rooms).tolist(), ends.tolist(), strict=True):
            _inflate(batch, view[start:end])
        yield Block(batches, memory, ends - rooms, sizes)


def _cut(opened: Sequence[Opened]) -> Iterator[list[Opened]]:
    """Batches in order, of about BLOCK_BYTES inflated at a time."""
    block: list[Opened] = []
    size = 0
    for one in opened:
        if block and size + one.size > BLOCK_BYTES:
            yield block
            block, size = [], 0
        block.append(one)
        size += one.size
    yield block


def _inflate(batch: Opened, room: memoryview) -> None:
    frame = batch.frame
    try:
        if _end_of(frame) != len(frame):
            raise BatchError("inflate", "not exactly one frame")
        size: int = _INFLATER.zstd.stream_reader(frame).readinto(room)
    except zstandard.ZstdError as error:
        raise BatchError("inflate", str(error)[:120]) from None
    if size != batch.size:
        raise BatchError("inflate", f"{size} bytes, {batch.size} declared")


def _end_of(frame: bytes) -> int:
    """Where a zstd frame ends by the headers of its blocks; beyond the bytes where it is cut."""
    at: int = zstandard.frame_header_size(frame)
    is_last = False
    while not is_last:
        header = int.from_bytes(frame[at : at + _HEADER], "little")
        kind, size = header >> 1 & 3, header >> 3
        at += _HEADER + (1 if kind == _REPEATED else size)
        is_last = bool(header & 1) or at > len(frame)
    return at + (_CHECKSUM if frame[4] & _CHECKSUM else 0)
