"""Who holds how much memory in a process: what can be reached from an object, by the way that leads there.

What columns stand on is told by the buffers of Polars and numpy, each counted once, by the first way to it that is
found; what a frame shares with another is the first one's. Python's own objects are counted by `sys.getsizeof`. The
invariant: nothing is changed or copied, so that looking does not make what it sees. What only Rust knows of (the tables
of categories, literals of expressions) is not seen.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter, deque
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Final

import numpy as np
import polars as pl

_DEPTH: Final = 5
"""So many steps of a way are told."""
_NAMED: Final = 100
"""The keys of a dict of fewer are names."""
_NOT_HELD: Final = (type, ModuleType, FunctionType, BuiltinFunctionType)
"""What belongs to the program and not to its data."""


def holdings(roots: dict[str, Any]) -> Counter[tuple[str, str]]:
    """Bytes by (way, kind) of what is reached from `roots`; kind is `columns`, `arrays`, `bytes` or `objects`."""
    held: Counter[tuple[str, str]] = Counter()
    seen: set[int] = set()
    buffers: set[int] = set()
    waiting: deque[tuple[tuple[str, ...], Any]] = deque(((name,), root) for name, root in roots.items())
    while waiting:
        way, one = waiting.popleft()
        if id(one) in seen or isinstance(one, _NOT_HELD):
            continue
        seen.add(id(one))
        name = ".".join(way[:_DEPTH])
        match one:
            case pl.DataFrame():
                columns = one.get_columns()
                held[name, "columns"] += sum(_buffers(column, buffers) for column in columns)
            case pl.Series():
                held[name, "columns"] += _buffers(one, buffers)
            case np.ndarray():
                base = one
                while isinstance(base.base, np.ndarray):
                    base = base.base
                if base.__array_interface__["data"][0] not in buffers:
                    buffers.add(base.__array_interface__["data"][0])
                    held[name, "arrays"] += base.nbytes
            case bytes() | bytearray():
                held[name, "bytes"] += len(one)
            case _:
                held[name, "objects"] += sys.getsizeof(one)
                waiting.extend((way + step, part) for step, part in _parts(one))
    return held


def _parts(one: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What an object refers to, and the step that leads there; none that is worth a name is empty."""
    named = getattr(one, "__dict__", None)
    if isinstance(named, dict):
        yield from (((key,), value) for key, value in named.items())
        return
    slots = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
    if slots and not isinstance(one, (dict, list, tuple)):
        yield from (((name,), getattr(one, name)) for name in slots if name != "__weakref__" and hasattr(one, name))
        return
    if isinstance(one, dict):
        for key, value in one.items():
            yield ((key[:40],) if isinstance(key, str) and len(one) < _NAMED else ()), value
        yield from (((), key) for key in one)
        return
    yield from (((), part) for part in gc.get_referents(one))


def _buffers(column: pl.Series, buffers: set[int]) -> int:
    """Bytes of a column's buffers that were not met before."""
    total = 0
    for chunk in column.to_physical().get_chunks():  # Arrow's view of them copies nothing but categories
        for buffer in chunk.to_arrow(compat_level=pl.CompatLevel.newest()).buffers():
            if buffer is not None and buffer.address not in buffers:
                buffers.add(buffer.address)
                total += buffer.size
    return total
