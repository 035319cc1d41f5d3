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

from .columns import Columns, Numbers, Texts

MANY_ROWS: Final = 2_000
"""From so many rows on it pays to look for planes that are 0 on every row, as the high bytes of most numbers are."""
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
        self._values: dict[str, list[Texts]] = {name: [] for name in self._texts}
        self._filled = 0

    def add(self, columns: Columns) -> tuple[Mapping[str, Numbers], Mapping[str, int]]:
        """Add the rows of some batches; returns their numbers, and by column of text the bytes of the longest value.

        Raises BatchError with reason `ipc` or `values`."""
        rows = slice(self._filled, self._filled + sum(columns.sizes))
        for name, space in self._texts.items():
            self._add_text(name, columns, space[rows])
        added = {name: space[rows] for name, space in self._numbers.items()}
        for name, space in added.items():
            if name in self._planes:
                _from_planes(columns.octets(name), columns.sizes, space)
            else:
                space[:] = columns.numbers(name)
        for name, near in self._relative.items():
            _from_distance(name, added[near], added[name])
        self._filled = rows.stop
        longest = {name: int(values[-1].lengths.max(initial=0)) for name, values in self._values.items()}
        return added, longest

    def frame(self) -> pl.DataFrame:
        """The columns that the version has, once all rows are there. Raises BatchError with reason `ipc`."""
        numbers = {name: pl.Series(name, space) for name, space in self._numbers.items()}
        return pl.DataFrame([*numbers.values(), *(self._text(name) for name in self._texts)])

    def _add_text(self, name: str, columns: Columns, space: Numbers) -> None:
        text = columns.text(name, 1 + sum(len(before.lengths) for before in self._values[name]))
        if name not in self._repeated:
            space[:] = text.numbers
        else:
            places = _whole_places(name, columns)
            space[:] = text.numbers.take(places) if len(text.lengths) else 0
        self._values[name].append(text)

    def _text(self, name: str) -> pl.Series:
        """A column of text. Raises BatchError where it is not UTF-8."""
        data, lengths = (
            b"".join([text.data for text in self._values[name]]),
            np.concatenate([text.lengths for text in self._values[name]]),
        )
        if not len(lengths):
            return pl.Series(name, [""]).new_from_index(0, self._filled)
        bounds = np.zeros(len(lengths) + 2, np.int64)
        np.cumsum(lengths, out=bounds[2:])
        values = pa.LargeStringArray.from_buffers(len(bounds) - 1, pa.py_buffer(bounds), pa.py_buffer(data))
        try:
            values.validate(full=True)
        except pa.ArrowInvalid as error:
            raise BatchError("ipc", f"{name}: {str(error)[:120]}") from None
        return pl.Series(name, values).gather(pl.Series(self._texts[name]))


def _spaces(kinds: Sequence[np.dtype[Any]], rows: int) -> Iterator[Numbers]:
    """An array of so many rows of each kind, in one piece of memory."""
    sizes = [-(-rows * kind.itemsize // _ALIGNMENT) * _ALIGNMENT for kind in kinds]
    whole = np.empty(sum(sizes), np.uint8)
    start = 0
    for kind, size in zip(kinds, sizes, strict=True):
        yield whole[start : start + rows * kind.itemsize].view(kind)
        start += size


def _whole_places(name: str, columns: Columns) -> Numbers:
    """On which of all rows the value of each row is, from where in its batch it is."""
    sizes = np.array(columns.sizes, np.uint32)
    places, own = columns.numbers(f"{name}_row"), np.repeat(sizes, sizes)
    if (places >= own).any():
        raise BatchError("values", f"{name} on row {places.max()} of {own.max()}")
    whole: Numbers = places + np.repeat(np.cumsum(sizes, dtype=np.uint32) - sizes, sizes)
    return whole


def _from_planes(octets: Sequence[Numbers], sizes: Sequence[int], space: Numbers) -> None:
    width = space.itemsize
    planes = [batch.reshape(width, rows) for batch, rows in zip(octets, sizes, strict=True)]
    rows_of = space.view(np.uint8).reshape(len(space), width)
    if len(space) < MANY_ROWS * len(sizes):
        np.concatenate([batch.T for batch in planes], out=rows_of)
        return
    space[:] = 0
    start = 0
    for rows, batch in zip(sizes, planes, strict=True):
        for place, plane in enumerate(batch):
            if plane.max(initial=0):
                rows_of[start : start + rows, place] = plane
        start += rows


def _from_distance(name: str, near: Numbers, distance: Numbers) -> None:
    """Put what is so far from `near` into the place of the distance."""
    if distance.dtype != np.int64:
        np.subtract(near, distance, out=distance)
        return
    moment_us = near // TIME_UNIT_NS - distance
    if ((moment_us < 0) | (moment_us > LATEST_US)).any():
        raise BatchError("values", f"{name} before 1970 or after 2262")
    np.multiply(moment_us, TIME_UNIT_NS, out=distance)
