"""Frames that grow while they are read: numbers in arrays, text in lists, and a frame of them at any time for little.

`Spans` holds facts that begin and end, `Register` what gets a number that stays. Neither knows what the columns mean.
The invariant: a frame that was handed out never changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .spans import END

_FIRST_CAPACITY: Final = 64
_NUMPY_TYPES: Final[Mapping[type[pl.DataType], type[np.generic]]] = {
    pl.Boolean: np.bool_,
    pl.UInt8: np.uint8,
    pl.UInt16: np.uint16,
    pl.UInt32: np.uint32,
    pl.UInt64: np.uint64,
    pl.Int64: np.int64,
    pl.Enum: np.uint32,
}

Row = tuple[Any, ...]


class Table:
    """Rows of numbers (Boolean and Enum too, as their codes) that may be changed, freed and taken anew."""

    def __init__(self, schema: pl.Schema) -> None:
        self._schema = schema
        self._columns: dict[str, NDArray[Any]] = {
            name: np.zeros(_FIRST_CAPACITY, _NUMPY_TYPES[type(kind)]) for name, kind in schema.items()
        }
        self._codes: dict[str, Mapping[str, int]] = {
            name: {text: code for code, text in enumerate(kind.categories)}
            for name, kind in schema.items()
            if isinstance(kind, pl.Enum)
        }
        self._is_live = np.zeros(_FIRST_CAPACITY, np.bool_)
        self._size = 0
        self._free: list[int] = []
        self._frame: pl.DataFrame | None = None

    def add(self, values: Row) -> int:
        """Add a row, with text for an Enum, and return where it lies; it lies there until it is freed."""
        if self._free:
            at = self._free.pop()
        else:
            at = self._size
            self._size += 1
            if at == len(self._is_live):
                self._grow()
        for (name, column), value in zip(self._columns.items(), values, strict=True):
            column[at] = self._codes[name][value] if name in self._codes else value
        self._is_live[at] = True
        self._frame = None
        return at

    def set(self, at: int, column: str, value: int) -> None:
        """Change one value."""
        self._columns[column][at] = value
        self._frame = None

    def get(self, at: int, column: str) -> int:
        """One value, as a number."""
        return int(self._columns[column][at])

    def free(self, at: int) -> None:
        """Take a row out."""
        self._is_live[at] = False
        self._free.append(at)
        self._frame = None

    def forget(self, before_ns: int) -> None:
        """Free the rows whose `until` is at or before an instant."""
        gone = np.flatnonzero(self._is_live[: self._size] & (self._columns["until"][: self._size] <= before_ns))
        self._is_live[gone] = False
        self._free.extend(gone.tolist())
        if len(gone):
            self._frame = None

    def column(self, name: str) -> NDArray[Any]:
        """The values of a column in all rows that are there."""
        return self._columns[name][: self._size][self._is_live[: self._size]]

    def remap(self, column: str, mapping: NDArray[np.uint32]) -> None:
        """Replace each id of a column by what `mapping` has in its place."""
        live = self._is_live[: self._size]
        values = self._columns[column][: self._size]
        values[live] = mapping[values[live]]
        self._frame = None

    def frame(self) -> pl.DataFrame:
        """The rows that are there, in no order; the same object while nothing changed."""
        if self._frame is None:
            live = self._is_live[: self._size]
            self._frame = pl.DataFrame(
                {
                    name: _series(name, column[: self._size][live], kind)
                    for (name, column), kind in zip(self._columns.items(), self._schema.values(), strict=True)
                }
            )
        return self._frame

    def _grow(self) -> None:
        self._is_live = np.concatenate([self._is_live, np.zeros_like(self._is_live)])
        self._columns = {name: np.concatenate([old, np.zeros_like(old)]) for name, old in self._columns.items()}


def _series(name: str, values: NDArray[Any], kind: pl.DataType) -> pl.Series:
    """A copy of the values: masks copy."""
    if isinstance(kind, pl.Enum):
        return kind.categories.gather(values).cast(kind).alias(name)
    return pl.Series(name, values).cast(kind)


class Spans:
    """Facts that begin and end. Several may say the same at once: a fact holds while any of them does."""

    def __init__(self, schema: pl.Schema) -> None:
        """`schema` ends in `since` and `until`."""
        self._table = Table(schema)
        self._open: dict[Row, list[int]] = {}

    def begin(self, fact: Row, since: int) -> None:
        """The fact holds from `since` on."""
        held = self._open.get(fact)
        if held is None:
            self._open[fact] = [self._table.add((*fact, since, END)), 1]
        else:
            held[1] += 1

    def end(self, fact: Row, until: int) -> int:
        """One that said the fact says it no more; where it was the last, the fact held until `until`."""
        held = self._open[fact]
        held[1] -= 1
        if held[1]:
            return END
        at = self._open.pop(fact)[0]
        if until <= self._table.get(at, "since"):
            self._table.free(at)
        else:
            self._table.set(at, "until", until)
        return until

    def forget(self, before_ns: int) -> None:
        """Drop what ended before an instant."""
        self._table.forget(before_ns)

    def used(self, column: str) -> NDArray[Any]:
        """The ids in a column."""
        return self._table.column(column)

    def remap(self, column: str, mapping: NDArray[np.uint32], at: int) -> None:
        """Replace the ids of a column, which is the `at`th of a fact."""
        self._table.remap(column, mapping)
        self._open = {(*fact[:at], int(mapping[fact[at]]), *fact[at + 1 :]): held for fact, held in self._open.items()}

    def frame(self) -> pl.DataFrame:
        """All facts that are kept."""
        return self._table.frame()


T = TypeVar("T")


class Register(Generic[T]):
    """Rows of text and numbers that get a number each, counted up, and keep it; each with what it was made from."""

    def __init__(self, schema: pl.Schema, fixed: Iterable[Row] = ()) -> None:
        """`schema` begins with the column of the number. `fixed` rows are the first, and always kept."""
        self._schema = schema
        self._frame = pl.DataFrame(schema=schema)
        self._fixed = [tuple(row) for row in fixed]
        self._rows: list[Row] = list(self._fixed)
        self.subjects: list[T | None] = [None] * len(self._rows)
        """What each row was made from; the list grows and is replaced when rows are renumbered."""

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: Row, subject: T | None) -> int:
        """The number of a new row."""
        self._rows.append(row)
        self.subjects.append(subject)
        return len(self._rows) - 1

    def row(self, number: int) -> Row:
        """The columns behind the number."""
        return self._rows[number]

    def keep(self, used: NDArray[Any]) -> NDArray[np.uint32]:
        """Drop all rows but the fixed ones and those in `used`; the new number of each old one."""
        is_kept = np.zeros(len(self._rows), np.bool_)
        is_kept[: len(self._fixed)] = True
        is_kept[used] = True
        kept = np.flatnonzero(is_kept).tolist()
        self._rows = [self._rows[number] for number in kept]
        self.subjects = [self.subjects[number] for number in kept]
        self._frame = self._frame.clear()
        return (np.cumsum(is_kept) - 1).astype(np.uint32)

    def values(self, at: int) -> list[Any]:
        """The `at`th column behind the row's own number."""
        return [row[at] for row in self._rows]

    def rewrite(self, at: int, mapping: NDArray[np.uint32]) -> None:
        """Replace the number in the `at`th column behind the row's own by what `mapping` has in its place."""
        self._rows = [(*row[:at], int(mapping[row[at]]), *row[at + 1 :]) for row in self._rows]
        self._frame = self._frame.clear()

    def frame(self) -> pl.DataFrame:
        """All rows with their numbers; the same object while none is added."""
        first = self._frame.height
        if len(self._rows) > first:
            added = [(number, *row) for number, row in enumerate(self._rows[first:], start=first)]
            grown = pl.DataFrame(added, schema=self._schema, orient="row")
            self._frame = pl.concat([self._frame, grown], rechunk=True)
        return self._frame
