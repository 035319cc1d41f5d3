"""From messages of the bus to a frame of one table's rows, or BatchError with the reason for the quarantine.

Whatever bytes come, nothing else is raised, memory is bounded, and no row is handed on that its batch's name, checksum,
counts and sums do not vouch for. The order of checks is cheap first; see `collector.schema` for the layout.

It goes in two steps, since most of what a batch costs does not depend on its rows: `open_batch` looks at one message
and its envelope, `merged` at the content of many at once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
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

from .arrow_stream import read_batch, validated
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


class _Inflater(threading.local):
    """A decompressor of each thread's own; making one takes half as long as what it does with a small batch."""

    def __init__(self) -> None:
        self.zstd = zstandard.ZstdDecompressor()


_INFLATER: Final = _Inflater()


@dataclass(frozen=True, slots=True)
class Decoded:
    """One sound batch. `frame` has the table's columns and `node` (Categorical)."""

    name: BatchName
    frame: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Opened:
    """One batch out of its envelope. Its content has not been looked at: only `merged` may."""

    name: BatchName
    batch: pa.RecordBatch
    size: int
    """Bytes of memory that it stands on."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Sound batches of one table, one behind the other. `frame` has the table's columns and `node` (Categorical)."""

    names: Sequence[BatchName]
    frame: pl.DataFrame

    @property
    def table(self) -> str:
        """The name of the table."""
        return self.names[0].table

    def times(self) -> Iterator[np.ndarray]:
        """The times of each batch's rows (int64, ns)."""
        times = self.frame["time"].to_numpy()
        start = 0
        for name in self.names:
            yield times[start : start + name.rows]
            start += name.rows

    def only(self, wanted: Sequence[bool]) -> Rows | None:
        """Those batches that are wanted; None where none is."""
        names = [name for name, is_wanted in zip(self.names, wanted, strict=True) if is_wanted]
        rows = np.repeat(wanted, [name.rows for name in self.names])
        return Rows(names, self.frame.filter(pl.Series(rows, dtype=pl.Boolean))) if names else None


def decode(message: Message, tables: Mapping[str, Table] = TABLES) -> Decoded:
    """Decode one message that the bus could read and that holds rows of one of `tables`.

    Raises BatchError; `pipeline.catalog` lists the reasons with flowatlas_pipeline_quarantined_batches_total.
    """
    opened = open_batch(message, tables)
    return Decoded(opened.name, merged([opened]).frame)


def open_batch(message: Message, tables: Mapping[str, Table] = TABLES) -> Opened:
    """Check everything about one message but its rows. Raises BatchError."""
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
    return Opened(name, read_batch(stream, name.table, name.rows, name.schema), len(stream))


def merged(opened: Sequence[Opened]) -> Rows:
    """The rows of batches (one at least) of one table and version, in order.

    Raises BatchError where one is at fault, without saying which: who wants to know gives them one by one.
    """
    names = [one.name for one in opened]
    sizes = [name.rows for name in names]
    table, version = KNOWN_TABLES[names[0].table], names[0].schema
    batch = validated([one.batch for one in opened])
    text = []
    if version > 1:
        text = restored_text(batch, table, sizes)
        batch = restored_numbers(batch, table, sizes)
    _check_values(batch, table, version)
    _check_bytes(batch, table, names)
    nodes = pl.Series("node", [name.node for name in names], dtype=pl.Categorical)
    node = pl.lit(nodes.gather(np.repeat(np.arange(len(names)), sizes)))
    return Rows(names, pl.DataFrame(batch).with_columns(*text, *MISSING[table.name, version], node))


def _inflate(frame: bytes) -> bytes:
    """The content of exactly one zstd frame that declares its size, within the cap."""
    try:
        parameters = zstandard.get_frame_parameters(frame)
        if not 0 < parameters.content_size <= MAX_INFLATED_BYTES:  # an unknown size is the largest number
            raise BatchError("inflate", f"{parameters.content_size} bytes declared")
        return _INFLATER.zstd.decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BatchError("inflate", str(error)[:120]) from None


def _check_values(batch: pa.RecordBatch, table: Table, version: int) -> None:
    for column, kind in table.columns_of(version).items():
        if kind == UTF8:
            longest = pa.compute.max(pa.compute.binary_length(batch.column(column))).as_py()
            if longest is not None and longest > LONGEST.get(column, MAX_TEXT_BYTES):
                raise BatchError("values", f"{column} of {longest} bytes")
        elif kind == "int64":  # all are times
            if (batch.column(column).to_numpy() < 0).any():
                raise BatchError("values", f"{column} before 1970")
        elif column in LARGEST and (batch.column(column).to_numpy() > LARGEST[column]).any():
            raise BatchError("values", f"{column} above {LARGEST[column]}")


def _check_bytes(batch: pa.RecordBatch, table: Table, names: Sequence[BatchName]) -> None:
    bounds = np.cumsum([0, *(name.rows for name in names)])
    sums = [0] * len(names)
    for column in table.bytes_columns:
        more = _exact_sums(batch.column(column).to_numpy(), bounds)
        sums = [a + b for a, b in zip(sums, more, strict=True)]
    for name, byte_sum in zip(names, sums, strict=True):
        if byte_sum != name.byte_sum:
            raise BatchError("bytes", f"{byte_sum}, the headers say {name.byte_sum}")


def _exact_sums(values: np.ndarray, bounds: np.ndarray) -> Iterator[int]:
    """The sums between bounds of less than 2**32 unsigned 64-bit numbers; each sum may exceed 64 bits."""
    halves = np.bitwise_and(values, np.uint64(0xFFFFFFFF)), np.right_shift(values, np.uint64(32))
    nought = np.zeros(1, np.uint64)
    low, high = (
        np.diff(np.concatenate((nought, np.cumsum(half, dtype=np.uint64)))[bounds]).tolist() for half in halves
    )
    return ((above << 32) + below for below, above in zip(low, high, strict=True))
