"""The columns of many record batches of one table, one batch behind the other, out of bodies of foreign bytes.

What batches say of where their columns lie is checked of all of them at once, before anything is taken from a body.
The invariant: nothing is read outside of a batch's own body, text is UTF-8, and every column has the rows that the
batches' names claim. What the values mean is for `pipeline.rows` and `pipeline.decode` to say.

Layout: Arrow's columnar format, "Fixed-size Primitive Layout" and "Variable-size Binary Layout".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from collector.schema import KNOWN_TABLES, OLDEST_VERSION, UTF8, VERSION, BatchError, Table

from .arrow_streams import Contents, Flags
from .pieces import Octets, Places, alike, joined

Numbers = np.ndarray[Any, Any]

_ALIGNMENT: Final = 8
_OFFSET: Final = np.dtype(np.int32)
"""Of where a value of text begins."""
_OCTET: Final = np.dtype(np.uint8)


@dataclass(frozen=True, slots=True)
class Texts:
    """A column of text: the values that are not empty, one behind the other, and by row which it has."""

    data: bytes
    lengths: Numbers
    """Of each value, in bytes."""
    numbers: Numbers
    """By row the number of its value, 0 where it is empty."""


class _Layout:
    """Which buffers the columns of a table have, how long they must be, and what is taken from them.

    A part is what has so many bytes a row: a column of numbers, one of its planes, where text begins or where it ends.
    """

    def __init__(self, table: Table, version: int) -> None:
        columns = table.wire_columns(version)
        self.kinds = {name: _OFFSET if kind == UTF8 else np.dtype(kind) for name, kind in columns.items()}
        self.numbers = {name: number for number, name in enumerate(columns)}
        # the buffer of a column's numbers, or of the places of its text, behind which is the one of its bytes
        places: dict[str, int] = {}
        buffers = 0
        for name, kind in columns.items():
            places[name] = buffers + 1  # the first is of nulls
            buffers += 3 if kind == UTF8 else 2
        texts = [name for name, kind in columns.items() if kind == UTF8]
        self.text_numbers = {name: number for number, name in enumerate(texts)}
        self.text_columns = np.array([self.numbers[name] for name in texts], np.int64)
        used = np.array([*places.values(), *(places[name] + 1 for name in texts)])
        self.pairs = np.concatenate([2 * used, 2 * used + 1])
        """Of the buffers that are looked at, one of each column and then those of the bytes of texts: the numbers of
        what says where they begin, then of what says how long they are."""
        self.widths = np.array([*(kind.itemsize for kind in self.kinds.values()), *(0 for _ in texts)])[:, None]
        self.ends = np.isin(np.arange(len(used)), self.text_columns)[:, None] * _OFFSET.itemsize
        """Bytes that are wanted beyond those of each row, where there is a row."""
        planes = set(table.planes) if version > 1 else set()
        self.parts: dict[str, int] = {}
        """The first part of a column; the others are behind it."""
        parts: list[tuple[int, int, int, int]] = []
        for name in sorted(columns, key=lambda name: 1 if name in planes else self.kinds[name].itemsize, reverse=True):
            column, width = self.numbers[name], self.kinds[name].itemsize
            self.parts[name] = len(parts)
            if name in planes:
                parts += [(column, 1, plane, 0) for plane in range(width)]
            else:
                parts += [(column, width, 0, skipped) for skipped in ([0, width] if name in texts else [0])]
        self.first_text = len(parts)
        """Behind the parts is the text of each column, with as many bytes as there are."""
        self.part_columns, widths, many_rows, skipped = np.array(parts).T
        self.part_widths, self.part_rows, self.part_skip = widths[:, None], many_rows[:, None], skipped[:, None]
        """Of each part, wide ones first: its column, its bytes a row, and behind how many rows of them and bytes it
        begins there."""


_LAYOUTS: Final = {
    (name, version): _Layout(table, version)
    for name, table in KNOWN_TABLES.items()
    for version in range(OLDEST_VERSION, VERSION + 1)
}


class Columns:
    """The wire columns of batches (one at least).

    Raises BatchError with reason `ipc` or `values` (nulls) where one of them is at fault, as do its methods.
    """

    def __init__(self, contents: Contents, table: Table, version: int) -> None:
        self._layout = layout = _LAYOUTS[table.name, version]
        self.sizes = rows = contents.rows
        self._memory = contents.memory
        if (contents.fields[:, :, 0] != rows[:, None]).any():
            raise BatchError("ipc", "columns of different lengths")
        if contents.fields[:, :, 1].any():
            raise BatchError("values", "nulls")
        told = contents.buffers.reshape(len(rows), -1).take(layout.pairs, axis=1).T.copy()
        starts, lengths = told.reshape(2, -1, len(rows))  # by buffer and batch
        least = layout.widths * rows + layout.ends * (rows > 0)
        ends = contents.sizes
        is_inside = (starts >= 0) & (starts <= ends) & (lengths <= ends - starts) & (starts & (_ALIGNMENT - 1) == 0)
        if not ((is_inside | (lengths == 0)) & (lengths >= least)).all():
            raise BatchError("ipc", "columns that are not in the body")
        self._starts = starts + contents.starts
        text_begins, text_sizes, self._is_sound = self._bytes_of_texts(lengths[len(layout.numbers) :])
        begins = self._starts.take(layout.part_columns, axis=0)
        begins += layout.part_rows * rows + layout.part_skip
        begins, sizes = np.concatenate([begins, text_begins]), np.concatenate([layout.part_widths * rows, text_sizes])
        many = sizes.sum(axis=1)
        if len(rows) == 1:
            self._parts, self._begins = self._memory, np.where(many > 0, begins[:, 0], 0)
        else:
            self._parts = joined(self._memory, begins.ravel(), sizes.ravel())
            self._begins = np.cumsum(many) - many
        self._ends = self._begins + many

    def _bytes_of_texts(self, lengths: Places) -> tuple[Places, Places, Flags]:
        """By column of text and batch where its bytes begin and how many there are; and by column whether that is
        inside of the `lengths` of its buffers."""
        begins, sizes = np.zeros((2, *lengths.shape), np.int64)
        batches = np.flatnonzero(self.sizes)
        firsts = self._starts[self._layout.text_columns[:, None], batches]
        lasts = firsts + self.sizes[batches] * _OFFSET.itemsize
        told = alike(self._memory, np.concatenate([firsts.ravel(), lasts.ravel()]), _OFFSET.itemsize).view(_OFFSET)
        first, last = told.reshape(2, *firsts.shape).astype(np.int64)
        is_inside = (first >= 0) & (first <= last) & (last <= lengths[:, batches])
        begins[:, batches] = self._starts[len(self._layout.numbers) :, batches] + first
        sizes[:, batches] = np.where(is_inside, last - first, 0)
        return begins, sizes, is_inside.all(axis=1)

    @cached_property
    def last_rows(self) -> Places:
        """By batch the number of rows of it and of all before it."""
        return np.cumsum(self.sizes)

    def planes(self, name: str) -> Octets:
        """The bytes of a column of numbers whose bytes travel apart: by place in the number, lowest first, and row.
        One place at least; behind the last there is nothing but 0."""
        first, width = self._layout.parts[name], self._layout.kinds[name].itemsize
        planes = self._parts[self._begins[first] : self._ends[first + width - 1]].reshape(width, -1)
        used = np.flatnonzero(planes.max(axis=1, initial=0))
        return planes[: used.max(initial=0) + 1]

    def numbers(self, name: str) -> Numbers:
        """A column of numbers."""
        return self._part(self._layout.parts[name], self._layout.kinds[name])

    def text(self, name: str, first: int = 1) -> Texts:
        """A column of text, its values counted from `first` on."""
        part, number = self._layout.parts[name], self._layout.text_numbers[name]
        begins, ends = self._part(part, _OFFSET), self._part(part + 1, _OFFSET)
        lengths = ends - begins
        least = min(begins.min(initial=0), lengths.min(initial=0))  # 32 bits may wrap where one is negative
        if least < 0 or not self._is_sound[number]:
            raise BatchError("ipc", f"{name} goes back or beyond its bytes")
        numbers = np.zeros(len(lengths), np.uint32)
        used = np.flatnonzero(lengths != 0)
        if not used.size:
            return Texts(b"", lengths[used], numbers)
        numbers[used] = np.arange(first, first + len(used))
        return Texts(self._part(self._layout.first_text + number, _OCTET).tobytes(), lengths[used], numbers)

    def _part(self, number: int, kind: np.dtype[Any]) -> Numbers:
        return self._parts[self._begins[number] : self._ends[number]].view(kind)
