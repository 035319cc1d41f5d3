"""Columns of flows as arrays, without a query: what a poll of few rows asks costs less so than planning a query does.

The invariant: nothing is copied but bits, so what these functions give is not to be written to.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]
"""Some rows of a frame or of a part of it, ascending."""

NO_ID: Final = np.uint32(2**32 - 1)
"""In place of an id (UInt32) that is null: no frame has so many rows."""


def numbers(column: pl.Series) -> NDArray[Any]:
    """The numbers of a column of numbers, or the codes of one of an Enum; anything in rows that are null."""
    dtype = column.dtype
    if isinstance(dtype, pl.Categorical):
        column = column.to_physical()  # Arrow would have every category there is
    elif isinstance(dtype, pl.Boolean):
        column = column.fill_null(value=False)  # bits are no numbers yet
    if not column.null_count() and not isinstance(dtype, pl.Enum):
        return column.to_numpy()
    told = column.to_arrow()
    if isinstance(told, pa.DictionaryArray):
        told = told.indices
    if not len(told):
        return np.zeros(0, told.type.to_pandas_dtype())
    return np.frombuffer(told.buffers()[1], told.type.to_pandas_dtype())[told.offset :][: len(told)]


def is_there(column: pl.Series) -> Mask:
    """Which rows are not null."""
    rows = len(column)
    if not column.null_count():
        return np.ones(rows, np.bool_)
    told = column.to_arrow()
    bits = np.frombuffer(told.buffers()[0], np.uint8)
    there: Mask = np.unpackbits(bits, count=told.offset + rows, bitorder="little")[told.offset :].view(np.bool_)
    return there


def ids(column: pl.Series) -> NDArray[np.uint32]:
    """Ids (UInt32), NO_ID where they are null."""
    return filled(column)


def filled(column: pl.Series) -> NDArray[Any]:
    """Unsigned numbers of a column, or the codes of one of an Enum; all bits set in rows that are null."""
    told = numbers(column)
    if not column.null_count():
        return told
    missing = is_there(column).view(np.int8) - np.int8(1)  # all bits too; to choose by row takes several times as long
    found: NDArray[Any] = np.bitwise_or(told, missing.astype(f"i{told.itemsize}").view(told.dtype))
    return found


def table(column: pl.Series, none: int) -> NDArray[np.int32]:
    """Ids (UInt32) to take by row: `none` where they are null, and at the end, for rows that are -1."""
    found = np.full(len(column) + 1, none, np.int32)
    np.copyto(found[:-1], numbers(column).view(np.int32), where=is_there(column))
    return found


def is_code(column: pl.Series, value: str) -> Mask:
    """Which rows of a column of an Enum are `value`; null is none."""
    found: Mask = numbers(column) == code(column.dtype, value)
    return found & is_there(column) if column.null_count() else found


def taken(frame: pl.DataFrame | Mapping[str, pl.Series], rows: NDArray[np.integer], *names: str) -> pl.DataFrame:
    """Some columns of some rows: a frame gathers in threads of its own, which cost more to wake than few rows do."""
    places = pl.Series(rows.astype(np.uint32))
    return pl.DataFrame([frame[name][places].alias(name) for name in names])


def enumerated(codes: NDArray[np.unsignedinteger], dtype: pl.Enum, there: Mask | None = None) -> pl.Series:
    """Codes as a column of the Enum, null where they are not there."""
    words = _words(dtype)
    if len(codes) and there is None and (codes == codes[0]).all():  # as where nothing is in a mesh
        return words.new_from_index(int(codes[0]), len(codes))
    if there is None or there.all():
        return words[codes]
    return words[pl.Series(np.where(there, codes, len(words) - 1).astype(np.uint32))]


@lru_cache
def _words(dtype: pl.Enum) -> pl.Series:
    """What is in an Enum, and null at the end."""
    return pl.Series([*dtype.categories, None], dtype=dtype)


def nullable(values: NDArray[Any], there: Mask) -> pl.Series:
    """The numbers as a column, null where they are not there."""
    if there.all():
        return pl.Series(values)
    bits = pa.py_buffer(np.packbits(there, bitorder="little"))
    buffers = [bits, pa.py_buffer(np.ascontiguousarray(values))]
    return pl.Series(pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), buffers))


def code(dtype: pl.DataType, value: str) -> int:
    """The code of a value of an Enum."""
    assert isinstance(dtype, pl.Enum)  # noqa: S101 - a category has no code that one could know
    return dtype.categories.to_list().index(value)
