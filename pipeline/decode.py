"""From messages of the bus to a frame of one table's rows, or BatchError with the reason for the quarantine.

Whatever bytes come, nothing else is raised, memory is bounded, and no row is handed on that its batch's name, checksum,
counts and sums do not vouch for. The order of checks is cheap first; see `collector.schema` for the layout.

It goes in two steps, since most of what a batch costs does not depend on its rows: `envelope` looks at one message
without its rows, `merged` at the content of many at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from collector.schema import (
    APP_PROTOCOLS,
    KNOWN_TABLES,
    MAX_INFLATED_BYTES,
    MAX_ROWS,
    OLDEST_VERSION,
    OUTCOMES,
    SCOPES,
    STATE_OPS,
    TABLES,
    UTF8,
    VERSION,
    BatchError,
    BatchName,
    Table,
)

from .arrow_streams import Shape, read_batches
from .blocks import inflated
from .bus import Message
from .columns import Columns, Numbers
from .envelope import Opened, open_batch
from .rows import Assembly

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
_SMALL: Final = 2**63 // MAX_ROWS
"""As many numbers as a batch has rows add up to less than 2**63 where each is less."""
MISSING: Final = {
    (table.name, version): tuple(
        pl.Series(name, [""]) if kind == UTF8 else pl.Series(name, np.zeros(1, kind))
        for name, kind in table.columns.items()
        if name not in table.columns_of(version)
    )
    for table in KNOWN_TABLES.values()
    for version in range(OLDEST_VERSION, VERSION + 1)
}
"""What a reader sees on each row of columns that a batch of an older version lacks, by table and version."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """One sound batch. `frame` has the table's columns and `node` (Categorical)."""

    name: BatchName
    frame: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Rows:
    """Sound batches of one table, one behind the other. `frame` has the table's columns and `node` (Categorical)."""

    names: Sequence[BatchName]
    frame: pl.DataFrame

    @property
    def table(self) -> str:
        """The name of the table."""
        return self.names[0].table

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


def merged(opened: Sequence[Opened]) -> Rows:
    """The rows of batches (one at least) of one table and version, in order.

    Raises BatchError where one is at fault, without saying which: who wants to know gives them one by one.
    """
    names = [one.name for one in opened]
    table, version = KNOWN_TABLES[names[0].table], names[0].schema
    assembly = Assembly(table, version, sum(name.rows for name in names))
    shapes: list[Shape] = []
    for block in inflated(opened):
        numbers, longest = assembly.add(Columns(read_batches(block, table.name, version, shapes), table, version))
        _check_lengths(longest)
        _check_values(numbers)
        _check_bytes(numbers, table, [batch.name for batch in block.batches])
    nodes = pl.Series("node", [name.node for name in names], dtype=pl.Categorical)
    places = pl.Series(np.repeat(np.arange(len(names), dtype=np.uint32), [name.rows for name in names]))
    missing = (one.new_from_index(0, len(places)) for one in MISSING[table.name, version])
    columns = {column.name: column for column in (*assembly.frame().get_columns(), *missing, nodes[places])}
    return Rows(names, pl.DataFrame([columns[name] for name in (*table.columns, "node")]))


def _check_lengths(longest: Mapping[str, int]) -> None:
    for column, size in longest.items():
        if size > LONGEST.get(column, MAX_TEXT_BYTES):
            raise BatchError("values", f"{column} of {size} bytes")


def _check_values(numbers: Mapping[str, Numbers]) -> None:
    for column, values in numbers.items():
        if values.dtype == np.int64:  # all are times
            if values.min(initial=0) < 0:
                raise BatchError("values", f"{column} before 1970")
        elif column in LARGEST and values.max(initial=0) > LARGEST[column]:
            raise BatchError("values", f"{column} above {LARGEST[column]}")


def _check_bytes(numbers: Mapping[str, Numbers], table: Table, names: Sequence[BatchName]) -> None:
    bounds = np.cumsum([0, *(name.rows for name in names)])
    sums = [0] * len(names)
    for column in table.bytes_columns:
        more = _exact_sums(numbers[column], bounds)
        sums = [a + b for a, b in zip(sums, more, strict=True)]
    for name, byte_sum in zip(names, sums, strict=True):
        if byte_sum != name.byte_sum:
            raise BatchError("bytes", f"{byte_sum}, the headers say {name.byte_sum}")


def _exact_sums(values: Numbers, bounds: Numbers) -> list[int]:
    """The sums between bounds of less than 2**32 unsigned 64-bit numbers; each sum may exceed 64 bits."""
    if values.max(initial=0) < _SMALL:
        return _sums(values, bounds)
    low, high = np.bitwise_and(values, np.uint64(0xFFFFFFFF)), np.right_shift(values, np.uint64(32))
    return [(above << 32) + below for below, above in zip(_sums(low, bounds), _sums(high, bounds), strict=True)]


def _sums(values: Numbers, bounds: Numbers) -> list[int]:
    """The sums between bounds where each is less than 2**64."""
    sums = np.zeros(len(bounds) - 1, np.uint64)
    has_rows = np.flatnonzero(bounds[1:] > bounds[:-1])  # where there are none, `reduceat` takes the next row
    if has_rows.size:
        sums[has_rows] = np.add.reduceat(values, bounds[has_rows])
    told: list[int] = sums.tolist()
    return told
