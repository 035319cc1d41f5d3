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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from collector.schema import KNOWN_TABLES, OLDEST_VERSION, UTF8, VERSION, BatchError, Table

MAX_METADATA_BYTES: Final = 16 * 1024
"""Of one message; ours take about 1 KiB. A FlatBuffer may refer to one table many times over, so verifying and
reading one may take far more than its size: large ones are not looked at."""

_CONTINUATION: Final = b"\xff\xff\xff\xff"
END: Final = _CONTINUATION + bytes(4)
_U16, _I32, _U32, _I64 = (struct.Struct(kind) for kind in ("<H", "<i", "<I", "<q"))
_SLOTS: Final = [struct.Struct(f"<{many}H") for many in range(5)]
_ABSENT: Final = (0, 0, 0, 0)
_VERSION_5: Final = 4
"""Messages of format V4 could say in their custom metadata that they are compressed (Arrow C++ 0.17)."""
_RECORD_BATCH: Final = 3
PAIR_BYTES: Final = 16
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


def _parts(table: Table, version: int) -> tuple[int, int]:
    kinds = table.wire_columns(version).values()
    return len(kinds), sum(3 if kind == UTF8 else 2 for kind in kinds)


PARTS: Final = {
    (name, version): _parts(table, version)
    for name, table in KNOWN_TABLES.items()
    for version in range(OLDEST_VERSION, VERSION + 1)
}
"""How many fields and buffers a record batch of a table has, by name and version."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where the metadata of a stream tell what, in bytes from its beginning; 0 is nowhere, as of what is 0."""

    size: int
    """Of everything before the body."""
    rows: int
    body_size: int
    fields: int
    """Of each column how many rows it has, and how many nulls: pairs of int64, as all pairs are."""
    many_fields: int
    buffers: int
    """Of each buffer where it begins in the body, and how long it is."""
    many_buffers: int
    structure: Sequence[tuple[int, int]]
    """The bytes that say so, as ranges: whatever the others are, a stream that has the same ones has the same head."""


@dataclass(frozen=True, slots=True)
class Content:
    """A record batch as its stream tells it. `fields` and `buffers` are pairs of int64, and any number may be a lie."""

    head: Head
    fields: bytes
    buffers: bytes
    body: tuple[int, int]
    """Where it begins and ends in the stream."""


def read_batch(stream: bytes | memoryview, table: str, rows: int, version: int = VERSION) -> Content:
    """The one record batch of a stream, of the wire columns of the table's `version`.

    Raises BatchError with reason `ipc` (no such stream, or other buffers than its columns have), `schema` (other
    columns) or `rows` (not that many).
    """
    try:
        _check_length(stream, 0)
        schema = 8 + _u32(stream, 4)
        if not _is_schema(bytes(stream[:schema]), table, version):
            raise BatchError("schema", f"not the columns of {table}")
        _check_length(stream, schema)
        head = _head(stream, schema + 8, schema + 8 + _u32(stream, schema + 4))
        metadata = memoryview(stream)[: head.size]
        told = _i64(metadata, head.rows) if head.rows else 0
        body = _body(stream, head.size, _i64(metadata, head.body_size) if head.body_size else 0)
    except (BatchError, MemoryError):  # that we are short of memory tells nothing of a batch
        raise
    except _BROKEN as error:
        raise BatchError("ipc", f"{type(error).__name__}: {str(error)[:120]}") from None
    if told != rows:
        raise BatchError("rows", f"{told}, the headers say {rows}")
    if (head.many_fields, head.many_buffers) != PARTS[table, version]:
        raise BatchError("ipc", f"metadata of other columns or buffers than {PARTS[table, version]}")
    fields = _pairs(metadata, head.fields, head.many_fields)
    return Content(head, fields, _pairs(metadata, head.buffers, head.many_buffers), body)


def _head(stream: bytes | memoryview, start: int, end: int) -> Head:
    """The head of a stream whose second message has its metadata between `start` and `end`.

    Raises BatchError, struct.error."""
    metadata = memoryview(stream)[:end]  # so that nothing behind them is taken for a part of them
    structure: list[tuple[int, int]] = [(0, start + 4)]
    version, kind, header, body_size = _fields(metadata, start + _u32(metadata, start), structure)
    if not (version and kind and header) or metadata[kind] != _RECORD_BATCH:
        raise BatchError("ipc", "the second message is no record batch")
    structure += [(version, version + 2), (kind, kind + 1), (header, header + 4)]
    rows, fields, buffers, compression = _fields(metadata, header + _u32(metadata, header), structure)
    if _U16.unpack_from(metadata, version)[0] != _VERSION_5 or compression:
        raise BatchError("ipc", "the second message is no plain record batch")
    vectors = _vector(metadata, fields, structure), _vector(metadata, buffers, structure)
    if min(first for first, _ in structure[1:]) < start:
        raise BatchError("ipc", "metadata that begin before themselves")
    return Head(end, rows, body_size, *vectors[0], *vectors[1], structure)


def _body(stream: bytes | memoryview, start: int, size: int) -> tuple[int, int]:
    """Where a body of such a size begins and ends, which only the end of the stream may follow."""
    behind = len(stream) - start
    if not 0 <= size <= behind or stream[start + size :] not in (b"", END):
        raise BatchError("ipc", f"{behind} bytes follow the metadata of a record batch of {size}")
    return start, start + size


def _fields(view: memoryview, table: int, structure: list[tuple[int, int]]) -> list[int]:
    """The positions of the first four fields of a FlatBuffers table, 0 where one is absent."""
    vtable = table - int(_I32.unpack_from(view, table)[0])
    many = max(0, min(4, (int(_U16.unpack_from(view, vtable)[0]) - 4) // 2))
    offsets = _SLOTS[many].unpack_from(view, vtable + 4)
    structure += [(table, table + 4), (vtable, vtable + 4 + 2 * many)]
    return [table + offset if offset else 0 for offset in (*offsets, *_ABSENT[many:])]


def _vector(metadata: memoryview, field: int, structure: list[tuple[int, int]]) -> tuple[int, int]:
    """Where the structs lie of the vector at a field, and how many it says that it has."""
    if not field:
        return 0, 0
    at = field + _u32(metadata, field)
    structure += [(field, field + 4), (at, at + 4)]
    many = _u32(metadata, at)
    if at + 4 + PAIR_BYTES * many > len(metadata):
        raise BatchError("ipc", f"{many} structs of a vector in {len(metadata)} bytes of metadata")
    return at + 4, many


def _pairs(metadata: memoryview, at: int, many: int) -> bytes:
    return bytes(metadata[at : at + PAIR_BYTES * many])


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
