"""pcapng files: blocks, each with its type in front and its length at both ends.

Sections of different byte order may follow each other, and each numbers its interfaces anew. Blocks that hold no packet
are passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from typing import Final

import numpy as np

from .records import BLOCK_PACKETS, Block, Capture, CutShortError

MAGIC: Final = b"\x0a\x0d\x0d\x0a"
"""The first four bytes of a file: a section's block type, the same in either byte order."""

_ORDERS: Final = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _PACKET = 0x0A0D0D0A, 1, 2, 3, 6
_NO_LINK_TYPE: Final = 0xFFFF
"""Stands for an interface that the section does not describe; no decoder knows it."""


def blocks(data: Capture) -> Iterator[Block]:
    """The packets of a file that begins with `MAGIC`. Raises CutShortError after the last good block."""
    packets = _packets(data)
    cut: CutShortError | None = None
    is_more = True
    while is_more:
        rows: list[tuple[int, int, int]] = []
        try:
            rows.extend(islice(packets, BLOCK_PACKETS))  # what came before an error stays
        except CutShortError as error:
            cut = error
        is_more = len(rows) == BLOCK_PACKETS
        start, end, link_type = np.array(rows, np.int64).reshape(-1, 3).T
        yield Block(start, end, link_type.astype(np.uint16))
    if cut is not None:
        raise cut


def _packets(data: Capture) -> Iterator[tuple[int, int, int]]:
    """Start, end and link type of each packet."""
    size = len(data)
    offset, order = 0, "<"
    interfaces: list[tuple[int, int]] = []
    while offset < size:
        if data[offset : offset + 4] == MAGIC:
            order = _ORDERS.get(data[offset + 8 : offset + 12], "")
            if not order:
                raise CutShortError(offset, "a section without its byte order")
            interfaces = []
        kind, length = _numbers(order + "II", data[offset : offset + 8], offset)
        end = offset + length
        if length < 12 or length % 4:
            raise CutShortError(offset, f"a block of {length} bytes")
        if end > size:
            raise CutShortError(offset, f"a block of {length} bytes, of which the file holds {size - offset}")
        fixed = data[offset + 8 : min(offset + 28, end - 4)]
        if kind == _PACKET:
            number, _, _, captured, _ = _numbers(order + "IIIII", fixed, offset)
            start = offset + 28
        elif kind == _OLD_PACKET:
            number, _, _, _, captured, _ = _numbers(order + "HHIIII", fixed, offset)
            start = offset + 28
        elif kind == _SIMPLE_PACKET:
            number, (captured,) = 0, _numbers(order + "I", fixed[:4], offset)
            start = offset + 12
            snap_length = interfaces[0][1] if interfaces else 0
            captured = min(captured, length - 16, snap_length or captured)
        else:
            if kind == _INTERFACE:
                link_type, _, snap_length = _numbers(order + "HHI", fixed[:8], offset)
                interfaces.append((link_type, snap_length))
            offset = end
            continue
        if captured > end - 4 - start:
            raise CutShortError(offset, f"a packet of {captured} bytes in a block of {length}")
        yield start, start + captured, interfaces[number][0] if number < len(interfaces) else _NO_LINK_TYPE
        offset = end


def _numbers(layout: str, fields: bytes, offset: int) -> tuple[int, ...]:
    try:
        return struct.unpack(layout, fields)
    except struct.error:
        raise CutShortError(offset, "a block header is cut short") from None
