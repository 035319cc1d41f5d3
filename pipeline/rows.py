"""Rows as they were before they travelled: the other side of `collector.schema.wire`, for columns from foreign bytes.

Numbers come out of arithmetic modulo 2**bits and cannot be wrong as such; what is said of times and of places of text
is checked here. Whether values are in range is for `pipeline.decode` to say, of what comes out here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from collector.schema import TIME_UNIT_NS, UTF8, BatchError, Table

from .columns import Columns, Numbers
from .pieces import Octets

LATEST_US: Final = np.iinfo(np.int64).max // TIME_UNIT_NS
_ALIGNMENT: Final = 64


class Assembly:
    """The rows of a table, put together from batches of one version, some at a time.

    All numbers lie in one piece of memory: from 4 MiB on numpy asks for it in huge pages (madvise(2)), which cost a
    fifth of what as many bytes cost in pages of 4 KiB.
    """

    def __init__(self, table: Table, version: int, rows: int) -> None:
        columns = table.columns_of(version)
        kinds = {name: np.dtype(kind) for name, kind in columns.items() if kind != UTF8}
        self._planes, self._relative, self._repeated = (
            (table.planes, table.relative, table.repeated) if version > 1 else ((), {}, ())
        )
        self._numbers = dict(zip(kinds, _spaces(list(kinds.values()), rows), strict=True))
        self._texts = {name: np.empty(rows, np.uint32) for name, kind in columns.items() if kind == UTF8}
        self._values: dict[str, list[tuple[bytes, Numbers]]] = {name: [] for name in self._texts}
        """By column of text its values so far: some at a time, their bytes, and of each how many."""
        self._next = dict.fromkeys(self._texts, 1)
        """The number of the next value; 0 is the empty one."""
        self._filled = 0

    def add(self, columns: Columns) -> tuple[Mapping[str, Numbers], Mapping[str, int]]:
        """Add the rows of some batches; returns their numbers, and by column of text the bytes of the longest value.

        Raises BatchError with reason `ipc` or `values`."""
        rows = slice(self._filled, self._filled + int(columns.sizes.sum()))
        longest = self._add_texts(columns, rows)
        added = {name: space[rows] for name, space in self._numbers.items()}
        for name, space in added.items():
            if name in self._planes:
                _from_planes(columns.planes(name), space)
            elif name not in self._relative:
                space[:] = columns.numbers(name)
        for name, near in self._relative.items():
            space = added[name]
            _from_distance(name, added[near], space if name in self._planes else columns.numbers(name), space)
        self._filled = rows.stop
        return added, longest

    def frame(self) -> pl.DataFrame:
        """The columns that the version has, once all rows are there. Raises BatchError with reason `ipc`."""
        numbers = {name: pl.Series(name, space) for name, space in self._numbers.items()}
        return pl.DataFrame([*numbers.values(), *(self._text(name) for name in self._texts)])

    def _add_texts(self, columns: Columns, rows: slice) -> dict[str, int]:
        """Add the columns of text; returns by column the bytes of the longest value."""
        longest: dict[str, int] = {}
        within = _Within(columns) if self._repeated else None
        for name, space in self._texts.items():
            text = columns.text(name, self._next[name])
            longest[name] = int(text.lengths.max(initial=0))
            self._next[name] += len(text.lengths)
            if within is None or name not in self._repeated:
                space[rows] = text.numbers
            else:
                places = within.whole(name, columns.numbers(f"{name}_row"))
                space[rows] = text.numbers.take(places) if len(text.lengths) else 0
            if len(text.lengths):
                self._values[name].append((text.data, text.lengths))
        return longest

    def _text(self, name: str) -> pl.Series:
        """A column of text. Raises BatchError where it is not UTF-8."""
        values = self._values[name]
        if not values:
            return pl.Series(name, [""]).new_from_index(0, self._filled)
        data, lengths = b"".join([data for data, _ in values]), np.concatenate([lengths for _, lengths in values])
        bounds = np.zeros(len(lengths) + 2, np.int64)
        np.cumsum(lengths, out=bounds[2:])
        texts = pa.LargeStringArray.from_buffers(len(bounds) - 1, pa.py_buffer(bounds), pa.py_buffer(data))
        try:
            texts.validate(full=True)
        except pa.ArrowInvalid as error:
            raise BatchError("ipc", f"{name}: {str(error)[:120]}") from None
        return pl.Series(name, texts)[pl.Series(self._texts[name])]


def _spaces(kinds: Sequence[np.dtype[Any]], rows: int) -> Iterator[Numbers]:
    """An array of so many rows of each kind, in one piece of memory."""
    sizes = [-(-rows * kind.itemsize // _ALIGNMENT) * _ALIGNMENT for kind in kinds]
    whole = np.empty(sum(sizes), np.uint8)
    start = 0
    for kind, size in zip(kinds, sizes, strict=True):
        yield whole[start : start + rows * kind.itemsize].view(kind)
        start += size


class _Within:
    """On which of all rows a row of its batch is."""

    def __init__(self, columns: Columns) -> None:
        sizes = columns.sizes.astype(np.uint32)
        self._own = np.repeat(sizes, sizes)
        self._before = np.repeat(columns.last_rows.astype(np.uint32) - sizes, sizes)

    def whole(self, name: str, places: Numbers) -> Numbers:
        """Where each value is, from where it is in the batch of its row. Raises BatchError with reason `values`."""
        if (places >= self._own).any():
            raise BatchError("values", f"{name} on row {places.max()} of {self._own.max()}")
        whole: Numbers = places + self._before
        return whole


def _from_planes(planes: Octets, space: Numbers) -> None:
    """Put numbers into a space, from planes of their bytes: neighbours become planes of numbers twice as wide."""
    parts, bits = [*planes], 8
    while len(parts) > 1:
        pairs = list(zip(parts[::2], parts[1::2], strict=False))
        odd = parts[2 * len(pairs) :]
        parts = [_side_by_side(low, high, bits) for low, high in pairs] + odd
        bits *= 2
    space[:] = parts[0]


def _side_by_side(low: Numbers, high: Numbers, bits: int) -> Numbers:
    """Numbers of so many low bits, and the high bits above them."""
    both = high.astype(f"u{bits // 4}")
    both <<= bits
    both |= low
    return both


def _from_distance(name: str, near: Numbers, distance: Numbers, space: Numbers) -> None:
    """Put what is so far from `near` into a space, which may be the distance's own."""
    if distance.dtype != np.int64:
        np.subtract(near, distance, out=space)
        return
    moment_us = near // TIME_UNIT_NS - distance
    if moment_us.min(initial=0) < 0 or moment_us.max(initial=0) > LATEST_US:
        raise BatchError("values", f"{name} before 1970 or after 2262")
    np.multiply(moment_us, TIME_UNIT_NS, out=space)
