"""Rows of ids as a few 64-bit numbers each, so that an index of integers can number them.

The invariant: two rows have the same numbers where, and only where, they have the same ids; null is an id like others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

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
    """The groups of rows by the columns `ids`, in the order in which they first appear."""
    numbers, first = distinct(IdWords(ids).of(rows))
    return Groups(rows.select(ids)[first], numbers)


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
            values = numbers.cast(pl.UInt64).fill_null((1 << bits) - 1).to_numpy()
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
        bits = _BITS.get(type(ids.dtype))
        if bits is None:
            raise TypeError(f"{ids.name}: ids of {dtype} cannot be numbered")
        return ids, bits
