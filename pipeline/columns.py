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

from .arrow_streams import Contents
from .pieces import Octets, Places, joined

Numbers = np.ndarray[Any, Any]

_ALIGNMENT: Final = 8
_OFFSET: Final = np.dtype(np.int32)
"""Of where a value of text begins."""


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
        self.places: dict[str, int] = {}
        """The buffer of a column's numbers, or of the places of its text, behind which is the one of its bytes."""
        buffers = 0
        for name, kind in columns.items():
            self.places[name] = buffers + 1  # the first is of nulls
            buffers += 3 if kind == UTF8 else 2
        texts = [name for name, kind in columns.items() if kind == UTF8]
        self.used = np.array([*self.places.values(), *(self.places[name] + 1 for name in texts)])
        """The buffers that are looked at: all but those of nulls."""
        self.widths = np.array([*(kind.itemsize for kind in self.kinds.values()), *(0 for _ in texts)])
        self.ends = np.isin(self.used, [self.places[name] for name in texts]) * _OFFSET.itemsize
        """Bytes that are wanted beyond those of each row, where there is a row."""
        planes = set(table.planes) if version > 1 else set()
        self.parts: dict[str, int] = {}
        """The first part of a column; the others are behind it."""
        parts: list[tuple[int, int, int, int]] = []
        for name in sorted(columns, key=lambda name: 1 if name in planes else self.kinds[name].itemsize, reverse=True):
            place, width = self.places[name], self.kinds[name].itemsize
            self.parts[name] = len(parts)
            if name in planes:
                parts += [(place, 1, plane, 0) for plane in range(width)]
            else:
                parts += [(place, width, 0, skipped) for skipped in ([0, width] if name in texts else [0])]
        self.part_place, self.part_width, self.part_rows, self.part_skip = np.array(parts).T
        """Of each part, wide ones first: its buffer, its bytes a row, and behind how many rows of them and bytes it
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
        self.sizes = contents.rows
        self._memory = contents.memory
        rows = contents.rows[:, None]
        if (contents.fields[:, :, 0] != rows).any():
            raise BatchError("ipc", "columns of different lengths")
        if contents.fields[:, :, 1].any():
            raise BatchError("values", "nulls")
        starts, self._lengths = contents.buffers[:, :, 0], contents.buffers[:, :, 1]
        used, lengths, ends = starts[:, layout.used], self._lengths[:, layout.used], contents.sizes[:, None]
        least = rows * layout.widths + (rows > 0) * layout.ends
        is_inside = (used >= 0) & (used <= ends) & (lengths <= ends - used) & (used % _ALIGNMENT == 0)
        if not ((is_inside | (lengths == 0)) & (lengths >= least)).all():
            raise BatchError("ipc", "columns that are not in the body")
        self._starts = contents.starts[:, None] + starts
        begins = self._starts[:, layout.part_place] + layout.part_rows * rows + layout.part_skip
        many = layout.part_width * self.sizes.sum()
        if len(rows) == 1:
            self._parts, self._begins = self._memory, np.where(rows[0] > 0, begins[0], 0)
        else:
            self._parts = joined(self._memory, begins.T.ravel(), (layout.part_width * rows).T.ravel())
            self._begins = np.cumsum(many) - many
        self._ends = self._begins + many

    @cached_property
    def last_rows(self) -> Places:
        """By batch the number of rows of it and of all before it."""
        return np.cumsum(self.sizes)

    def planes(self, name: str) -> Octets:
        """The bytes of a column of numbers whose bytes travel apart: by place in the number, lowest first, and row."""
        first, width = self._layout.parts[name], self._layout.kinds[name].itemsize
        return self._parts[self._begins[first] : self._ends[first + width - 1]].reshape(width, -1)

    def numbers(self, name: str) -> Numbers:
        """A column of numbers."""
        return self._part(self._layout.parts[name], self._layout.kinds[name])

    def text(self, name: str, first: int = 1) -> Texts:
        """A column of text, its values counted from `first` on."""
        place, part = self._layout.places[name], self._layout.parts[name]
        begins, ends = self._part(part, _OFFSET), self._part(part + 1, _OFFSET)
        firsts, lasts = self._outer(begins, ends)
        lengths = ends - begins
        least = min(each.min(initial=0) for each in (begins, lengths, lasts))  # 32 bits may wrap where one is negative
        if least < 0 or (lasts > self._lengths[:, place + 1]).any():
            raise BatchError("ipc", f"{name} goes back or beyond its bytes")
        numbers = np.zeros(len(lengths), np.uint32)
        used = np.flatnonzero(lengths != 0)
        if not used.size:
            return Texts(b"", lengths[used], numbers)
        numbers[used] = np.arange(first, first + len(used))
        data = joined(self._memory, self._starts[:, place + 1] + firsts, lasts - firsts)
        return Texts(data.tobytes(), lengths[used], numbers)

    def _part(self, number: int, kind: np.dtype[Any]) -> Numbers:
        return self._parts[self._begins[number] : self._ends[number]].view(kind)

    def _outer(self, begins: Numbers, ends: Numbers) -> tuple[Places, Places]:
        """Where the text of each batch begins and ends."""
        has_rows = self.sizes > 0
        firsts, lasts = np.zeros((2, len(self.sizes)), np.int64)
        firsts[has_rows] = begins[(self.last_rows - self.sizes)[has_rows]]
        lasts[has_rows] = ends[(self.last_rows - 1)[has_rows]]
        return firsts, lasts
