"""Addresses at which something begins, in order: how many of them lie at or before an address.

It knows numbers alone, and neither prefixes nor what they mean. The invariant: an address is told by its two halves as
by the one number of 128 bits that they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .addresses import Half

_LOW: Final = (1 << 64) - 1


class Steps:
    """Addresses as numbers, ascending."""

    def __init__(self, firsts: Sequence[int]) -> None:
        hi, lo = halves(firsts)
        self._keys = _key(hi, lo)
        self._lows = lo[hi == 0]

    def __len__(self) -> int:
        return len(self._keys)

    def up_to(self, hi: Half, lo: Half) -> NDArray[np.int64]:
        """By address, how many begin at or before it. What has no upper half, as all IPv4, is told by a number alone,
        a fifth of the time."""
        found = np.searchsorted(self._lows, lo, side="right")
        long = np.flatnonzero(hi != 0)
        if long.size:
            found[long] = np.searchsorted(self._keys, _key(hi.take(long), lo.take(long)), side="right")
        return found


def halves(addresses: Sequence[int]) -> tuple[Half, Half]:
    """The upper and the lower half of each address, given as one number."""
    hi, lo = (np.array([address >> shift & _LOW for address in addresses], np.uint64) for shift in (64, 0))
    return hi, lo


def _key(hi: Half, lo: Half) -> NDArray[Any]:
    """Addresses as 16 bytes in network order, which sort as the numbers do."""
    pairs = np.empty((len(hi), 2), ">u8")
    pairs[:, 0], pairs[:, 1] = hi, lo
    return pairs.view("S16").ravel()
