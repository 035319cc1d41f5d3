"""The columns of many record batches of one table, one batch behind the other, out of bodies of foreign bytes.

What batches say of where their columns lie is checked of all of them at once, before anything is taken from a body.
The invariant: nothing is read outside of a batch's own body, text is UTF-8, and every column has the rows that the
batches' names claim. What the values mean is for `pipeline.rows` and `pipeline.decode` to say.

Layout: Arrow's columnar format, "Fixed-size Primitive Layout" and "Variable-size Binary Layout".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from collector.schema import KNOWN_TABLES, OLDEST_VERSION, UTF8, VERSION, BatchError, Table

from .arrow_stream import Content

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
    """Which buffers the columns of a table have, and how long they must be."""

    def __init__(self, table: Table, version: int) -> None:
        columns = table.wire_columns(version)
        self.kinds = {name: _OFFSET if kind == UTF8 else np.dtype(kind) for name, kind in columns.items()}
        self.fields = len(columns)
        self.places: dict[str, int] = {}
        """The buffer of a column's numbers, or of the places of its text, behind which is the one of its bytes."""
        widths: list[int] = []
        for name, kind in columns.items():
            self.places[name] = len(widths) + 1  # the first is of nulls
            widths += [0, self.kinds[name].itemsize, *([0] if kind == UTF8 else [])]
        self.buffers = len(widths)
        texts = [self.places[name] for name, kind in columns.items() if kind == UTF8]
        self.used = np.array([*self.places.values(), *(place + 1 for place in texts)])
        """The buffers that are looked at: all but those of nulls."""
        self.widths = np.array(widths)[self.used]
        self.ends = np.isin(self.used, texts) * _OFFSET.itemsize
        """Bytes that are wanted beyond those of each row, where there is a row."""


_LAYOUTS: Final = {
    (name, version): _Layout(table, version)
    for name, table in KNOWN_TABLES.items()
    for version in range(OLDEST_VERSION, VERSION + 1)
}


class Columns:
    """The wire columns of batches (one at least) that have `sizes` rows.

    Raises BatchError with reason `ipc` or `values` (nulls) where one of them is at fault, as do its methods.
    """

    def __init__(self, contents: Sequence[Content], sizes: Sequence[int], table: Table, version: int) -> None:
        self._layout = layout = _LAYOUTS[table.name, version]
        self.sizes = sizes
        self._bodies = [content.body for content in contents]
        rows = np.array(sizes, np.int64)[:, None]
        fields = _pairs([content.fields for content in contents], layout.fields)
        if (fields[:, :, 0] != rows).any():
            raise BatchError("ipc", "columns of different lengths")
        if fields[:, :, 1].any():
            raise BatchError("values", "nulls")
        buffers = _pairs([content.buffers for content in contents], layout.buffers)
        starts, lengths = buffers[:, layout.used, 0], buffers[:, layout.used, 1]
        ends = np.array([len(body) for body in self._bodies])[:, None]
        least = rows * layout.widths + (rows > 0) * layout.ends
        is_inside = (starts >= 0) & (starts <= ends) & (lengths <= ends - starts) & (starts % _ALIGNMENT == 0)
        if not ((is_inside | (lengths == 0)) & (lengths >= least)).all():
            raise BatchError("ipc", "columns that are not in the body")
        self._starts: list[list[int]] = buffers[:, :, 0].T.tolist()
        self._lengths = buffers[:, :, 1]

    def octets(self, name: str) -> list[Numbers]:
        """The bytes of a column of numbers, batch by batch."""
        starts, width = self._starts[self._layout.places[name]], self._layout.kinds[name].itemsize
        return [
            np.frombuffer(body[start : start + rows * width], np.uint8)
            for body, start, rows in zip(self._bodies, starts, self.sizes, strict=True)
        ]

    def numbers(self, name: str) -> Numbers:
        """A column of numbers."""
        return self._joined(self._layout.places[name], self._layout.kinds[name])

    def text(self, name: str, first: int = 1) -> Texts:
        """A column of text, its values counted from `first` on."""
        place = self._layout.places[name]
        begins, ends = self._joined(place, _OFFSET), self._joined(place, _OFFSET, skipped=1)
        firsts, lasts = self._outer(begins, ends)
        lengths = ends - begins
        if begins.min(initial=0) < 0 or lengths.min(initial=0) < 0 or (lasts > self._lengths[:, place + 1]).any():
            raise BatchError("ipc", f"{name} goes back or beyond its bytes")
        numbers = np.zeros(len(lengths), np.uint32)
        used = np.flatnonzero(lengths)
        if not used.size:
            return Texts(b"", lengths[used], numbers)
        numbers[used] = np.arange(first, first + len(used))
        pieces = [
            body[start + first : start + last]
            for body, start, first, last in zip(
                self._bodies, self._starts[place + 1], firsts.tolist(), lasts.tolist(), strict=True
            )
        ]
        return Texts(b"".join(pieces), lengths[used], numbers)

    def _joined(self, place: int, kind: np.dtype[Any], skipped: int = 0) -> Numbers:
        """One number a row out of the buffers at a place, from the one behind `skipped` others on."""
        width, skip = kind.itemsize, skipped * kind.itemsize
        pieces = [
            body[start + skip : start + skip + rows * width]
            for body, start, rows in zip(self._bodies, self._starts[place], self.sizes, strict=True)
        ]
        return np.frombuffer(pieces[0] if len(pieces) == 1 else b"".join(pieces), kind)

    def _outer(self, begins: Numbers, ends: Numbers) -> tuple[Numbers, Numbers]:
        """Where the text of each batch begins and ends."""
        sizes = np.array(self.sizes, np.int64)
        behind, has_rows = np.cumsum(sizes), sizes > 0
        firsts, lasts = np.zeros((2, len(sizes)), np.int64)
        firsts[has_rows] = begins[(behind - sizes)[has_rows]]
        lasts[has_rows] = ends[(behind - 1)[has_rows]]
        return firsts, lasts


def _pairs(parts: Sequence[bytes], many: int) -> Numbers:
    """By batch the pairs of numbers that its metadata have, which must be so many."""
    if any(len(part) != 16 * many for part in parts):
        raise BatchError("ipc", f"metadata of other than {many} columns or buffers")
    return np.frombuffer(b"".join(parts), np.int64).reshape(len(parts), many, 2)
