"""Rows of ids as a few 64-bit numbers each, so that an index of integers can number them.

The invariant: two rows have the same numbers where, and only where, they have the same ids; null is an id like others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..attribution.keyindex import distinct

Words = list[NDArray[np.uint64]]

_BITS: Final = {pl.Boolean: 2, pl.UInt8: 9, pl.UInt16: 17, pl.UInt32: 32}
"""How wide an id of a type is, with room for null, which has all bits set: rows of frames are never so many."""
_TEXT_BITS: Final = 32


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows that have the same ids, told apart once for all who sum them."""

    ids: pl.DataFrame
    """One row a group."""
    numbers: NDArray[np.int64]
    """By row, the row of `ids` that it has."""


def grouped(rows: pl.DataFrame, ids: Sequence[str]) -> Groups:
    """The groups of rows by the columns `ids`, in the order in which they first appear.

    Ids are of the types that `IdWords` packs, and categories.
    """
    words = [np.zeros(rows.height, np.uint64)]
    room = 1 << 64
    for name in ids:
        numbers, size = _numbered(rows[name])
        if size > room:
            words.append(numbers)
            room = (1 << 64) // size
        else:
            words[-1] = words[-1] * np.uint64(size) + numbers
            room //= size
    of_row, first = distinct(words)
    return Groups(rows.select(ids)[first], of_row)


def _numbered(ids: pl.Series) -> tuple[NDArray[np.uint64], int]:
    """Ids as numbers, null the highest, and how many numbers there may be: these rows need no room for others."""
    if isinstance(ids.dtype, pl.String):
        ids = ids.cast(pl.Categorical)
    if isinstance(ids.dtype, pl.Enum | pl.Categorical):
        ids = ids.to_physical()
    _bits_of(ids)
    highest = cast("int | None", ids.max())
    null = 0 if highest is None else int(highest) + 1
    return _filled(ids.cast(pl.UInt64), null), null + 1


def _filled(numbers: pl.Series, null: int) -> NDArray[np.uint64]:
    """The numbers with another in place of null; a fill that fills nothing costs as much as any."""
    return (numbers.fill_null(null) if numbers.null_count() else numbers).to_numpy()


def _bits_of(ids: pl.Series) -> int:
    bits = _BITS.get(type(ids.dtype))
    if bits is None:
        raise TypeError(f"{ids.name}: ids of {ids.dtype} cannot be numbered")
    return bits


class IdWords:
    """Packs the columns `ids`: unsigned integers up to 32 bits, booleans, enumerations and text of few values."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = list(ids)
        self._texts: dict[str, int] = {}

    def of(self, rows: pl.DataFrame) -> Words:
        """The words of each row; as many in every frame of the same types."""
        words: Words = []
        used = 64
        for name in self._ids:
            numbers, bits = self._numbers(rows[name])
            values = _filled(numbers.cast(pl.UInt64), (1 << bits) - 1)
            if used + bits > 64:
                words.append(values)
                used = bits
            else:
                words[-1] = words[-1] | (values << np.uint64(used))
                used += bits
        return words

    def _numbers(self, ids: pl.Series) -> tuple[pl.Series, int]:
        dtype = ids.dtype
        if isinstance(dtype, pl.String | pl.Categorical):
            texts = ids.cast(pl.String)
            for text in texts.unique().drop_nulls():
                self._texts.setdefault(text, len(self._texts))
            return texts.replace_strict(self._texts, return_dtype=pl.UInt32), _TEXT_BITS
        if isinstance(dtype, pl.Enum):
            ids = ids.to_physical()
        return ids, _bits_of(ids)
