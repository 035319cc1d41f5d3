"""Pieces of memory, one behind the other, at the speed of what copies them: a slice of Python's costs ten times more.

It knows nothing of what lies there. The invariant: nothing outside of the memory is read, whatever is asked for.

Layout: Arrow's columnar format, "Variable-size Binary View Layout". An array of views says where each value lies, and
Arrow puts them together when it is cast to one of plain values.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa

Octets = np.ndarray[Any, np.dtype[np.uint8]]
Places = np.ndarray[Any, np.dtype[np.int64]]

_INLINE: Final = 12
"""A view of so many bytes at most holds them itself, in place of where they lie."""
_MOST: Final = 2**31 - 1
"""Places are int32."""


def joined(memory: Octets, starts: Places, sizes: Places) -> Octets:
    """The pieces of a memory of less than 2 GiB that begin at `starts` and have `sizes`, in their order.

    Where a piece without bytes is said to begin does not matter. Raises IndexError for what is not all inside."""
    used = np.where(sizes > 0, starts, 0)
    if len(memory) > _MOST or (used | sizes).view(np.uint64).max(initial=0) > _MOST:  # a negative one is larger
        raise IndexError("pieces of no memory")
    if (used + sizes).max(initial=0) > len(memory):
        raise IndexError("pieces beyond the memory")
    views = np.empty((len(sizes), 2), np.int64)
    views[:, 0] = sizes
    np.left_shift(used, 32, out=views[:, 1])
    short = np.flatnonzero(sizes <= _INLINE)
    if short.size and len(memory):
        within = np.minimum(used[short, None] + np.arange(_INLINE), len(memory) - 1)
        views.view(np.uint8)[short, 4:] = memory[within]
    pieces = pa.Array.from_buffers(pa.binary_view(), len(views), [None, pa.py_buffer(views), pa.py_buffer(memory)])
    plain = pieces.cast(pa.large_binary()).buffers()[2]
    return np.frombuffer(plain, np.uint8)[: sizes.sum()]


def alike(memory: Octets, starts: Places, size: int) -> Octets:
    """The pieces of a memory that begin at `starts` and all have so many bytes, one at least: a row each.

    Raises IndexError for what is not all inside."""
    if starts.min(initial=0) < 0 or size > len(memory):
        raise IndexError("pieces of no memory")
    windows = np.ndarray(len(memory) - size + 1, f"V{size}", memory, strides=(1,))
    return windows[starts].view(np.uint8).reshape(-1, size)
