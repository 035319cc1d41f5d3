"""Columns to the bytes of a batch, and as far back as the collector goes: to the checked frame.

A value is `MAGIC | version | reserved | crc32c | one zstd frame around a plain Arrow IPC stream`. What foreign bytes in
the frame may hold is for the pipeline to judge (`pipeline.decode`).
"""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import google_crc32c
import numpy as np
import zstandard

from ..text import Text
from .batches import MAX_ROWS, BatchError
from .tables import UTF8, VERSION, Table
from .wire import wire_form

MAGIC: Final = b"FLWA"
PREFIX: Final = struct.Struct("<4sHHI")  # magic, version, reserved (0), crc32c of what follows
_LEVEL: Final = 3  # of zstd: a twentieth less than 1 for a fifth of the time more

Column = np.ndarray[Any, Any] | Sequence[str]


def encode(table: Table, columns: Mapping[str, Column]) -> bytes:
    """Encode equal-length columns, one for each of `table.columns`, into one batch value.

    Numeric columns are numpy arrays of exactly the table's dtype; text columns are sequences of str, best `Text`.
    Rows keep their order. What is less than a microsecond of relative times is lost.
    Raises ValueError for wrong names, dtypes or lengths, or for more than MAX_ROWS rows: these are our own mistakes.
    """
    import nanoarrow as na
    from nanoarrow.ipc import StreamWriter

    if list(columns) != list(table.columns):
        raise ValueError(f"{table.name}: columns {list(columns)} are not {list(table.columns)}")
    rows = {len(column) for column in columns.values()}
    if len(rows) != 1 or max(rows) > MAX_ROWS:
        raise ValueError(f"{table.name}: column lengths {sorted(rows)}; one length of at most {MAX_ROWS} is wanted")
    for name, kind in table.columns.items():
        column = columns[name]
        if kind != UTF8 and (not isinstance(column, np.ndarray) or column.dtype != np.dtype(kind)):
            raise ValueError(f"{table.name}.{name}: {getattr(column, 'dtype', type(column))} is not {kind}")
    fields, whole = _arrow_types(tuple(table.wire_columns(VERSION).items()))
    children = []
    for name, wired in wire_form(table, columns).items():
        buffers = [np.ascontiguousarray(wired)] if isinstance(wired, np.ndarray) else wired.buffers()
        children.append(na.c_array_from_buffers(fields[name], len(wired), [None, *buffers], null_count=0))
    array = na.c_array_from_buffers(whole, rows.pop(), [None], null_count=0, children=children)
    stream = io.BytesIO()
    with StreamWriter.from_writable(stream) as writer:
        writer.write_array(array)
    frame = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True).compress(stream.getbuffer())
    return PREFIX.pack(MAGIC, VERSION, 0, google_crc32c.value(frame)) + frame


@functools.cache
def _arrow_types(columns: tuple[tuple[str, str], ...]) -> tuple[dict[str, Any], Any]:
    """Arrow's type of each of these columns, and of a row of them."""
    import nanoarrow as na

    fields = {
        name: na.string(nullable=False) if kind == UTF8 else getattr(na, kind)(nullable=False) for name, kind in columns
    }
    return {name: na.c_schema(field) for name, field in fields.items()}, na.c_schema(na.struct(fields))


def filled(table: Table, columns: Mapping[str, Column]) -> dict[str, Column]:
    """All of a table's columns in order, from those that are known: the others are 0 and ""."""
    rows = len(next(iter(columns.values())))
    return {
        name: columns[name] if name in columns else Text.empty(rows) if kind == UTF8 else np.zeros(rows, kind)
        for name, kind in table.columns.items()
    }


def ordered(table: Table, columns: Mapping[str, Column]) -> dict[str, Column]:
    """The same rows in the order in which they take the fewest bytes. Of a table without such an order, as they are."""
    if table.order is None:
        return dict(columns)
    first, second = (np.asarray(columns[name]).astype(np.uint64) for name in table.order)
    order = np.argsort(first << np.uint64(32) | second & np.uint64(0xFFFFFFFF), kind="stable")
    return {
        name: column[order] if isinstance(column, np.ndarray) else Text.of(column).take(order)
        for name, column in columns.items()
    }


def frame_of(value: bytes, version: int = VERSION) -> bytes:
    """Check a batch value's prefix and checksum and return its zstd frame; `version` is what its headers say.

    Raises BatchError with reason `truncated`, `magic`, `schema_version` or `checksum`, in that order of checking.
    """
    if len(value) < PREFIX.size:
        raise BatchError("truncated", f"{len(value)} bytes")
    magic, written, _, checksum = PREFIX.unpack_from(value)
    if magic != MAGIC:
        raise BatchError("magic", repr(magic))
    if written != version:
        raise BatchError("schema_version", f"{written}, the headers say {version}")
    frame = value[PREFIX.size :]
    if google_crc32c.value(frame) != checksum:
        raise BatchError("checksum")
    return frame
