"""One Arrow IPC stream of one record batch from foreign bytes, or BatchError: the door that hostile bytes come to.

Only pyarrow reads them (Polars' own IPC reader aborts on some), and only after their envelope has been judged: a schema
message equal to ours, one record batch without Arrow's body compression (which may be a bomb), the end. The invariant:
memory stays within a small multiple of the bytes given. Where even that is not to be had, MemoryError is raised, though
it is one of Arrow's exceptions too: the batch is sound for all we know.

Layout: Arrow's columnar format, "Encapsulated message format", and its FlatBuffers files Message.fbs and Schema.fbs.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from collector.schema import KNOWN_TABLES, OLDEST_VERSION, UTF8, VERSION, BatchError, Table

MAX_METADATA_BYTES: Final = 16 * 1024
"""Of one message; ours take about 1 KiB. A FlatBuffer may refer to one table many times over, so verifying and
reading one may take far more than its size: large ones are not looked at."""

_CONTINUATION: Final = b"\xff\xff\xff\xff"
_END: Final = _CONTINUATION + bytes(4)
_HEADER_SLOT: Final = 2  # Message.header; slot 1 is its type
_COMPRESSION_SLOT: Final = 3  # RecordBatch.compression
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


def read_batch(stream: bytes | memoryview, table: str, rows: int, version: int = VERSION) -> pa.RecordBatch:
    """The one record batch of a stream, of exactly `rows` rows, on the stream's memory; `validated` makes it safe.

    It has the wire columns of the table's `version`. Until it is validated its values must not be looked at: places of
    text may point anywhere.

    Raises BatchError with reason `ipc` (no such stream), `schema` (other columns) or `rows`.
    """
    try:
        _check_length(stream, 0)
        head = 8 + _u32(stream, 4)
        if not _is_schema(bytes(stream[:head]), table, version):
            raise BatchError("schema", f"not the columns of {table}")
        _check_length(stream, head)
        source = pa.BufferReader(stream)
        source.seek(head)
        body = pa.ipc.read_message(source)
        if body.type != "record batch" or _may_be_compressed(body):
            raise BatchError("ipc", "the second message is no plain record batch")
        if stream[source.tell() :] not in (b"", _END):
            raise BatchError("ipc", "something follows the record batch")
        batch = pa.ipc.read_record_batch(body, SCHEMAS[table, version])
    except (BatchError, MemoryError):  # that we are short of memory tells nothing of a batch
        raise
    except _BROKEN as error:
        raise _broken(error) from None
    if batch.num_rows != rows:
        raise BatchError("rows", f"{batch.num_rows}, the headers say {rows}")
    return batch


def validated(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches of one schema as one, fully validated and without nulls; one batch stays on its memory.

    Raises BatchError with reason `ipc` or `values` (nulls) where one of them is at fault.
    """
    try:
        whole = pa.Table.from_batches(batches)
        whole.validate(full=True)
        has_nulls = any(column.null_count for column in whole.columns)
        batch = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
    except MemoryError:
        raise
    except _BROKEN as error:
        raise _broken(error) from None
    if has_nulls:
        raise BatchError("values", "nulls")
    return batch


@functools.lru_cache(maxsize=64)
def _is_schema(message: bytes, table: str, version: int) -> bool:
    """Whether a message is of a table's schema: a collector sends the same bytes every time, so they are parsed once.

    Raises what is in `_BROKEN`, and remembers nothing then."""
    head = pa.ipc.read_message(message)
    return bool(head.type == "schema" and pa.ipc.read_schema(head).equals(SCHEMAS[table, version], check_metadata=True))


def _broken(error: Exception) -> BatchError:
    return BatchError("ipc", f"{type(error).__name__}: {str(error)[:120]}")


def _check_length(stream: bytes | memoryview, at: int) -> None:
    if stream[at : at + 4] != _CONTINUATION or _u32(stream, at + 4) > MAX_METADATA_BYTES:
        raise BatchError("ipc", f"no message of at most {MAX_METADATA_BYTES} bytes of metadata at {at}")


def _may_be_compressed(message: pa.Message) -> bool:
    """Whether a record batch's buffers may be compressed; pyarrow has verified the FlatBuffer's bounds.

    Messages of format V4 could say so in their custom metadata too (Arrow C++ 0.17), so they are not read.
    """
    if message.metadata_version != pa.ipc.MetadataVersion.V5:
        return True
    view = memoryview(message.metadata)
    header = _field(view, _u32(view, 0), _HEADER_SLOT)
    return _field(view, header + _u32(view, header), _COMPRESSION_SLOT) != 0


def _field(view: memoryview, table: int, slot: int) -> int:
    """The position of a FlatBuffers table's field, 0 where it is absent."""
    vtable = table - struct.unpack_from("<i", view, table)[0]
    (vtable_size,) = struct.unpack_from("<H", view, vtable)
    entry = 4 + 2 * slot
    offset = struct.unpack_from("<H", view, vtable + entry)[0] if entry + 2 <= vtable_size else 0
    return table + offset if offset else 0


def _u32(view: bytes | memoryview, at: int) -> int:
    return int(struct.unpack_from("<I", view, at)[0])
