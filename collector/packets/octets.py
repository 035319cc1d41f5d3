"""Big-endian fields at any position of a byte buffer, for many positions at once.

The whole buffer is seen as overlapping 2, 4 and 8 byte words, one beginning at every byte, so a field of a million
packets is one gather. The invariant to keep as a caller: a position and its field lie inside the buffer.
"""

from __future__ import annotations

import mmap
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Positions: TypeAlias = npt.NDArray[np.int64]


class Octets:
    """A read-only byte buffer. It holds on to the buffer as long as it lives."""

    def __init__(self, data: bytes | bytearray | memoryview | mmap.mmap) -> None:
        self.size = len(data)
        self._data = data
        self._words = {width: self._view(width) for width in (1, 2, 4, 8)}

    def _view(self, width: int) -> npt.NDArray[Any]:
        places = self.size - width + 1
        if places <= 0:
            return np.empty(0, f">u{width}")
        return np.ndarray((places,), f">u{width}", self._data, strides=(1,))

    def part(self, start: int, end: int) -> bytes:
        """A copy of the bytes from `start` to `end`."""
        return bytes(self._data[start:end])

    def u8(self, at: Positions) -> npt.NDArray[np.int64]:
        """Bytes, widened so that arithmetic on them cannot overflow."""
        return self._words[1][at].astype(np.int64)

    def u16(self, at: Positions) -> npt.NDArray[np.int64]:
        """Two bytes each, widened as `u8` is."""
        return self._words[2][at].astype(np.int64)

    def u32(self, at: Positions) -> npt.NDArray[np.uint64]:
        """Four bytes each."""
        return self._words[4][at].astype(np.uint64)

    def u64(self, at: Positions) -> npt.NDArray[np.uint64]:
        """Eight bytes each."""
        return self._words[8][at].astype(np.uint64)
