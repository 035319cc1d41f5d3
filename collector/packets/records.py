"""Blocks of packets as a capture file holds them, and how reading one can go wrong.

Nothing is copied: a block is positions in the file. What the packets contain is not looked at here.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from .octets import Positions

BLOCK_PACKETS: Final = 65_536
"""Packets of one block: few enough for the decoder's columns to stay in the processor's cache."""

Capture: TypeAlias = bytes | mmap.mmap


class CutShortError(ValueError):
    """The file ends, or stops making sense, at `offset`. All blocks before it were good."""

    def __init__(self, offset: int, what: str) -> None:
        super().__init__(f"offset {offset}: {what}")
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Block:
    """Packets in file order: the captured bytes of each are `start:end`, and `link_type` says how they begin."""

    start: Positions
    end: Positions
    link_type: npt.NDArray[np.uint16]
