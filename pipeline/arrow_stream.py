"""One Arrow IPC stream of one record batch from foreign bytes, or BatchError: the door that hostile bytes come to.

Only what is asked of a stream is looked at, and nothing is believed: its schema message is one that pyarrow has read as
ours, and behind it are one record batch without Arrow's body compression (which may be a bomb) and the end. The
invariant: every number that comes out of here is as it came, so `pipeline.columns` bounds each before it is used.

Polars' own IPC reader aborts on some bytes, and pyarrow's costs as much for a batch of few rows as all that is done
with the rows; so the metadata of a record batch are read here, which Python bounds by itself.

Layout: Arrow's columnar format, "Encapsulated message format", and its FlatBuffers files Message.fbs and Schema.fbs.
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from collector.schema import KNOWN_TABLES, OLDEST_VERSION, UTF8, VERSION, BatchError, Table

MAX_METADATA_BYTES: Final = 16 * 1024
"""Of one message; ours take about 1 KiB. A FlatBuffer may refer to one table many times over, so verifying and
reading one may take far more than its size: large ones are not looked at."""

_CONTINUATION: Final = b"\xff\xff\xff\xff"
_END: Final = _CONTINUATION + bytes(4)
_U16, _I32, _U32, _I64 = (struct.Struct(kind) for kind in ("<H", "<i", "<I", "<q"))
_SLOTS: Final = [struct.Struct(f"<{many}H") for many in range(5)]
_ABSENT: Final = (0, 0, 0, 0)
_VERSION_5: Final = 4
"""Messages of format V4 could say in their custom metadata that they are compressed (Arrow C++ 0.17)."""
_RECORD_BATCH: Final = 3
_PAIR_BYTES: Final = 16
"""Of a FieldNode (length, null count) and of a Buffer (offset, length): two int64 each."""
_BROKEN: Final = (
    pa.ArrowException, OSError, EOFError, StopIteration, ValueError, TypeError, KeyError, IndexError, struct.error,
)  # fmt: skip


def _schema(table: Table, version: int) -> pa.Schema:
    return pa.schema(
        [
            pa.field(name, pa.string() if kind == UTF8 else pa.type_for_alias(kind), nullable=False)
            for name, kind in table.wire_columns(version).items()
        ]
    )


SCHEMAS: Final = {
    (name, version): _schema(table, version)
    for name, table in KNOWN_TABLES.items()
    for version in range(OLDEST_VERSION, VERSION + 1)
}
"""The tables as they travel, by name and version: wire columns in order, none nullable, no metadata."""


@dataclass(frozen=True, slots=True)
class Content:
    """A record batch as its stream tells it. `fields` and `buffers` are pairs of int64, and any number may be a lie."""

    rows: int
    fields: bytes
    """Of each column how many rows it has, and how many nulls."""
    buffers: bytes
    """Of each of its buffers where it begins in `body`, and how long it is."""
    body: memoryview


def read_batch(stream: bytes | memoryview, table: str, rows: int, version: int = VERSION) -> Content:
    """The one record batch of a stream, of the wire columns of the table's `version`, on the stream's memory.

    Raises BatchError with reason `ipc` (no such stream), `schema` (other columns) or `rows` (not that many).
    """
    try:
        _check_length(stream, 0)
        head = 8 + _u32(stream, 4)
        if not _is_schema(bytes(stream[:head]), table, version):
            raise BatchError("schema", f"not the columns of {table}")
        _check_length(stream, head)
        content = _content(memoryview(stream)[head + 8 :], _u32(stream, head + 4))
    except (BatchError, MemoryError):  # that we are short of memory tells nothing of a batch
        raise
    except _BROKEN as error:
        raise BatchError("ipc", f"{type(error).__name__}: {str(error)[:120]}") from None
    if content.rows != rows:
        raise BatchError("rows", f"{content.rows}, the headers say {rows}")
    return content


def _content(message: memoryview, size: int) -> Content:
    """The content of a message whose metadata have `size` bytes. Raises BatchError, struct.error."""
    metadata, rest = message[:size], message[size:]
    version, kind, header, length = _fields(metadata, _u32(metadata, 0))
    if not (version and kind and header) or metadata[kind] != _RECORD_BATCH:
        raise BatchError("ipc", "the second message is no record batch")
    rows, fields, buffers, compression = _fields(metadata, header + _u32(metadata, header))
    if _U16.unpack_from(metadata, version)[0] != _VERSION_5 or compression:
        raise BatchError("ipc", "the second message is no plain record batch")
    body_size = _i64(metadata, length) if length else 0
    if not 0 <= body_size <= len(rest) or rest[body_size:] not in (b"", _END):
        raise BatchError("ipc", f"{len(rest)} bytes follow the metadata of a record batch of {body_size}")
    return Content(
        _i64(metadata, rows) if rows else 0, _pairs(metadata, fields), _pairs(metadata, buffers), rest[:body_size]
    )


def _fields(view: memoryview, table: int) -> list[int]:
    """The positions of the first four fields of a FlatBuffers table, 0 where one is absent."""
    vtable = table - int(_I32.unpack_from(view, table)[0])
    many = min(4, (int(_U16.unpack_from(view, vtable)[0]) - 4) // 2)
    offsets = _SLOTS[max(0, many)].unpack_from(view, vtable + 4)
    return [table + offset if offset else 0 for offset in (*offsets, *_ABSENT[len(offsets) :])]


def _pairs(metadata: memoryview, field: int) -> bytes:
    """The structs that the vector at a field holds, as many as it says."""
    if not field:
        return b""
    at = field + _u32(metadata, field)
    size = _PAIR_BYTES * _u32(metadata, at)
    pairs = bytes(metadata[at + 4 : at + 4 + size])
    if len(pairs) != size:
        raise BatchError("ipc", f"{size} bytes of a vector in {len(metadata)} of metadata")
    return pairs


@functools.lru_cache(maxsize=64)
def _is_schema(message: bytes, table: str, version: int) -> bool:
    """Whether a message is of a table's schema: a collector sends the same bytes every time, so they are parsed once.

    Raises what is in `_BROKEN`, and remembers nothing then."""
    head = pa.ipc.read_message(message)
    return bool(head.type == "schema" and pa.ipc.read_schema(head).equals(SCHEMAS[table, version], check_metadata=True))


def _check_length(stream: bytes | memoryview, at: int) -> None:
    if stream[at : at + 4] != _CONTINUATION or _u32(stream, at + 4) > MAX_METADATA_BYTES:
        raise BatchError("ipc", f"no message of at most {MAX_METADATA_BYTES} bytes of metadata at {at}")


def _u32(view: bytes | memoryview, at: int) -> int:
    return int(_U32.unpack_from(view, at)[0])


def _i64(view: bytes | memoryview, at: int) -> int:
    return int(_I64.unpack_from(view, at)[0])
