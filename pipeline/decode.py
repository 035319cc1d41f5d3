"""From a message of the bus to a frame of one table's rows, or BatchError with the reason for the quarantine.

Whatever bytes come, nothing else is raised, memory is bounded, and no row is handed on that its batch's name, checksum,
counts and sums do not vouch for. The order of checks is cheap first; see `collector.schema` for the layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute
import zstandard

from collector.schema import (
    APP_PROTOCOLS,
    KNOWN_TABLES,
    MAX_INFLATED_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_ROWS,
    OLDEST_VERSION,
    OUTCOMES,
    SCOPES,
    STATE,
    STATE_OPS,
    TABLES,
    UTF8,
    VERSION,
    BatchError,
    BatchName,
    Table,
    frame_of,
    parse_headers,
)

from .arrow_stream import read_batch
from .bus import Message
from .rows import restored_numbers, restored_text

MAX_TEXT_BYTES: Final = 128
"""Of one text value: an interface's name has at most 127 bytes, a pod's UID 36."""
LONGEST: Final = {"name": 253, "question": 4 * 253, "server_name": 253, "api_version": 317, "body": MAX_INFLATED_BYTES}
"""The same of columns whose text may be longer, in every table where they occur."""
LARGEST: Final = {
    "outcome": len(OUTCOMES) - 1,
    "opened": 1,
    "closed": 1,
    "scope": len(SCOPES) - 1,
    "op": len(STATE_OPS) - 1,
    "exchanges": 1,
    "app_protocol": len(APP_PROTOCOLS) - 1,
}
"""The largest value of columns that have one; in every table where they occur."""
MISSING: Final = {
    (table.name, version): tuple(
        pl.lit("").alias(name) if kind == UTF8 else pl.lit(0).cast(pl.Series(np.empty(0, kind)).dtype).alias(name)
        for name, kind in table.columns.items()
        if name not in table.columns_of(version)
    )
    for table in KNOWN_TABLES.values()
    for version in range(OLDEST_VERSION, VERSION + 1)
}
"""What a reader sees of columns that a batch of an older version lacks, by table and version."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """One sound batch. `frame` has the table's columns and `node` (Categorical)."""

    name: BatchName
    frame: pl.DataFrame


def decode(message: Message, tables: Mapping[str, Table] = TABLES) -> Decoded:
    """Decode one message that the bus could read and that holds rows of one of `tables`.

    Raises BatchError; `pipeline.catalog` lists the reasons with flowatlas_pipeline_quarantined_batches_total.
    """
    if message.flaw:
        raise BatchError(message.flaw, message.origin)
    if len(message.value) > MAX_MESSAGE_BYTES:
        raise BatchError("oversized", f"{len(message.value)} bytes")
    name = parse_headers(message.headers, tables)
    if name.rows > MAX_ROWS:
        raise BatchError("rows", f"the headers say {name.rows}, at most {MAX_ROWS} are allowed")
    if message.topic != tables[name.table].topic:
        raise BatchError("table", f"{name.table} in {message.topic}")
    key = message.key.partition(b"/")[0] if name.table == STATE.name else message.key  # behind it is a slot
    if key != name.node.encode():
        raise BatchError("node", f"{name.node} under the key {message.key[:64]!r}")
    stream = _inflate(frame_of(message.value, name.schema))
    batch = read_batch(stream, name.table, name.rows, name.schema)
    table = KNOWN_TABLES[name.table]
    text = []
    if name.schema > 1:
        text = restored_text(batch, table)
        batch = restored_numbers(batch, table)
    _check_values(batch, name)
    node = pl.lit(name.node, dtype=pl.Categorical).alias("node")
    return Decoded(name, pl.DataFrame(batch).with_columns(*text, *MISSING[name.table, name.schema], node))


def _inflate(frame: bytes) -> bytes:
    """The content of exactly one zstd frame that declares its size, within the cap."""
    try:
        parameters = zstandard.get_frame_parameters(frame)
        if not 0 < parameters.content_size <= MAX_INFLATED_BYTES:  # an unknown size is the largest number
            raise BatchError("inflate", f"{parameters.content_size} bytes declared")
        return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BatchError("inflate", str(error)[:120]) from None


def _check_values(batch: pa.RecordBatch, name: BatchName) -> None:
    table = KNOWN_TABLES[name.table]
    byte_sum = 0
    for column, kind in table.columns_of(name.schema).items():
        if kind == UTF8:
            longest = pa.compute.max(pa.compute.binary_length(batch.column(column))).as_py()
            if longest is not None and longest > LONGEST.get(column, MAX_TEXT_BYTES):
                raise BatchError("values", f"{column} of {longest} bytes")
            continue
        values = batch.column(column).to_numpy()
        if kind == "int64":  # all are times
            if (values < 0).any():
                raise BatchError("values", f"{column} before 1970")
        elif column in LARGEST:
            if (values > LARGEST[column]).any():
                raise BatchError("values", f"{column} above {LARGEST[column]}")
        elif column in table.bytes_columns:
            byte_sum += _exact_sum(values)
    if byte_sum != name.byte_sum:
        raise BatchError("bytes", f"{byte_sum}, the headers say {name.byte_sum}")


def _exact_sum(values: np.ndarray) -> int:
    """The sum of unsigned 64-bit numbers, which may exceed 64 bits."""
    low = np.bitwise_and(values, np.uint64(0xFFFFFFFF)).sum(dtype=np.uint64)
    high = np.right_shift(values, np.uint64(32)).sum(dtype=np.uint64)
    return (int(high) << 32) + int(low)
