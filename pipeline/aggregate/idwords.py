"""Rows of ids as a few 64-bit numbers each, so that an index of integers can number them.

The invariant: two rows have the same numbers where, and only where, they have the same ids; null is an id like others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..attribution import arrays
from ..attribution.keyindex import distinct

Words = list[NDArray[np.uint64]]
Columns = pl.DataFrame | Mapping[str, pl.Series]
"""Ids by name: columns of one length."""

_BITS: Final = {np.dtype(name): bits for name, bits in (("bool", 2), ("uint8", 9), ("uint16", 17), ("uint32", 32))}
"""How wide an id of a type is, with room for null, which has all bits set: rows of frames are never so many."""
_TEXT_BITS: Final = 32
_FEW: Final = 1_000
"""So many rows of text are looked up one by one: what looks up a column takes longer to begin."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows that have the same ids, told apart once for all who sum them."""

    ids: pl.DataFrame
    """One row a group."""
    numbers: NDArray[np.int64]
    """By row, the row of `ids` that it has."""


def grouped(rows: Columns, ids: Sequence[str]) -> Groups:
    """The groups of rows by the columns `ids`, in the order in which they first appear.

    Ids are of the types that `IdWords` packs, and categories.
    """
    of_row, first = distinct(packed(rows, ids))
    return Groups(arrays.taken(rows, first, *ids), of_row)


def packed(rows: Columns, ids: Sequence[str]) -> Words:
    """The ids of each row as `joined` has them: numbers that tell these rows apart and are nobody else's."""
    return joined([_numbered(rows[name]) for name in ids])


def joined(columns: Sequence[NDArray[Any]]) -> Words:
    """Columns of whole numbers, none below 0, as few columns of 64 bits that are alike where all of them are: each
    column takes the room that its highest number needs. A first column without 0 gives no 0."""
    words = [np.zeros(len(columns[0]), np.uint64)]
    room = 1 << 64
    for numbers in columns:
        size = int(numbers.max(initial=0)) + 1
        if size > room:
            words.append(numbers.astype(np.uint64))
            room = (1 << 64) // size
        else:
            words[-1] *= np.uint64(min(size, (1 << 64) - 1))  # no room for it but in a word that is empty
            words[-1] += numbers.astype(np.uint64, copy=False)
            room //= size
    return words


def _numbered(ids: pl.Series) -> NDArray[Any]:
    """Ids as numbers, null as 0."""
    if isinstance(ids.dtype, pl.String):
        ids = ids.cast(pl.Categorical)
    elif isinstance(ids.dtype, pl.Boolean):
        ids = ids.cast(pl.UInt8)
    numbers = arrays.numbers(ids)
    _bits_of(ids, numbers)
    if ids.null_count():
        numbers = (numbers.astype(np.uint64) + np.uint64(1)) * arrays.is_there(ids)
    return numbers


def _filled(numbers: NDArray[Any], is_there: arrays.Mask, null: int) -> NDArray[np.uint64]:
    """The numbers with another in place of null."""
    return np.where(is_there, numbers.astype(np.uint64), np.uint64(null))


def _bits_of(ids: pl.Series, numbers: NDArray[Any]) -> int:
    bits = _BITS.get(numbers.dtype)
    if bits is None:
        raise TypeError(f"{ids.name}: ids of {ids.dtype} cannot be numbered")
    return bits


class IdWords:
    """Packs the columns `ids`: unsigned integers up to 32 bits, booleans, enumerations and text of few values."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = list(ids)
        self._texts: dict[str, int] = {}

    def of(self, rows: Columns) -> Words:
        """The words of each row; as many whatever rows, if their types are the same."""
        words: Words = []
        used = 64
        for name in self._ids:
            values, bits = self._numbers(rows[name])
            if used + bits > 64:
                words.append(values)
                used = bits
            else:
                words[-1] |= values << np.uint64(used)
                used += bits
        return words

    def _numbers(self, ids: pl.Series) -> tuple[NDArray[np.uint64], int]:
        if isinstance(ids.dtype, pl.String | pl.Categorical):
            ids = self._text_numbers(ids.cast(pl.String))
            numbers, bits = arrays.numbers(ids), _TEXT_BITS
        else:
            numbers = arrays.numbers(ids)
            bits = _bits_of(ids, numbers)
        if ids.null_count():
            return _filled(numbers, arrays.is_there(ids), (1 << bits) - 1), bits
        return numbers.astype(np.uint64), bits

    def _text_numbers(self, texts: pl.Series) -> pl.Series:
        known = self._texts
        if len(texts) <= _FEW:
            told = [None if text is None else known.setdefault(text, len(known)) for text in texts]
            return pl.Series(told, dtype=pl.UInt32)
        for text in texts.unique().drop_nulls():
            known.setdefault(text, len(known))
        return texts.replace_strict(known, return_dtype=pl.UInt32)
