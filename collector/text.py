"""A column of text in which few values occur many times: each row is the number of its value.

It is a sequence of str, so that whoever reads a column need not know; whoever slices, sorts or encodes one does it on
the numbers. The invariant: every number is the index of one of `values`, and nothing changes after it was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, overload

import numpy as np
import numpy.typing as npt

_NUMBER: Final = np.dtype(np.uint32)


class Text(Sequence[str]):
    """`values[number]` for each of `numbers`, an array of unsigned integers."""

    __slots__ = ("numbers", "values")

    def __init__(self, values: Sequence[str], numbers: npt.NDArray[np.unsignedinteger[Any]]) -> None:
        if len(numbers) and int(numbers.max()) >= len(values):
            raise ValueError(f"number {int(numbers.max())} of {len(values)} values")
        self.values = values
        self.numbers = numbers

    @classmethod
    def empty(cls, rows: int) -> Text:
        """Rows without text."""
        return cls(("",), np.zeros(rows, _NUMBER))

    @classmethod
    def of(cls, column: Sequence[str]) -> Text:
        """Any column of text as one of these."""
        if isinstance(column, Text):
            return column
        places: dict[str, int] = {}
        numbers = [places.setdefault(value, len(places)) for value in column]
        return cls(tuple(places), np.array(numbers, _NUMBER))

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Text: ...
    def __getitem__(self, place: int | slice) -> str | Text:
        if isinstance(place, slice):
            return self.take(place)
        return self.values[int(self.numbers[place])]

    def take(self, places: slice | npt.NDArray[np.integer[Any]]) -> Text:
        """The rows at these places, in their order."""
        return Text(self.values, self.numbers[places])

    def buffers(self) -> tuple[npt.NDArray[np.int32], bytes]:
        """The column as Arrow lays out strings: where each value begins, with the end of the last, and all bytes."""
        if not any(self.values):
            return np.zeros(len(self) + 1, np.int32), b""
        encoded = [value.encode() for value in self.values]
        lengths = np.array([len(value) for value in encoded], np.int64)
        ends = np.zeros(len(self) + 1, np.int64)
        np.cumsum(lengths[self.numbers], out=ends[1:])
        if ends[-1] > np.iinfo(np.int32).max:
            raise ValueError(f"{ends[-1]} bytes of text in one column")
        has_text = np.flatnonzero(lengths[self.numbers])
        return ends.astype(np.int32), b"".join([encoded[number] for number in self.numbers[has_text].tolist()])
