"""pcap files: a header, then records of a fixed prefix and the captured bytes.

Either byte order, micro- or nanoseconds, and the variant of old Linux distributions with a longer prefix.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import numpy as np

from .records import BLOCK_PACKETS, Block, Capture, CutShortError

_PREFIXES: Final = {0xA1B2C3D4: 16, 0xA1B23C4D: 16, 0xA1B2CD34: 24}
MAGICS: Final = {struct.pack(order + "I", magic): (order, size) for order in "<>" for magic, size in _PREFIXES.items()}
"""The first four bytes of a file, and the byte order and length of a record's prefix that they mean."""


def blocks(data: Capture) -> Iterator[Block]:
    """The packets of a file that begins with one of `MAGICS`. Raises CutShortError after the last good block."""
    order, prefix = MAGICS[data[:4]]
    size = len(data)
    if size < 24:
        raise CutShortError(size, "the file header is cut short")
    link_type = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF  # the upper half says how a checksum is kept
    captured_length = struct.Struct(order + "I").unpack_from
    offset, last = 24, size - prefix
    is_whole = True
    while is_whole and offset <= last:
        starts: list[int] = []
        for _ in range(BLOCK_PACKETS):
            if offset > last:
                break
            start = offset + prefix
            end = start + captured_length(data, offset + 8)[0]
            if end > size:
                is_whole = False
                break
            starts.append(start)
            offset = end
        start_of = np.array(starts, np.int64)
        end_of = np.append(start_of[1:] - prefix, [offset] * bool(starts)).astype(np.int64)  # records touch each other
        yield Block(start_of, end_of, np.full(len(starts), link_type, np.uint16))
    if offset < size:
        raise CutShortError(offset, f"{size - offset} bytes are left, and they are no whole record")
