"""Files of a table: Parquet by the partition of its rows, and what the log says of each: how many rows, of which time.

A file's name tells who wrote it: `settle-N-of-APP-…` a settle of the pipeline, so that what an unfinished one left is
found; others begin otherwise. The invariant: a file holds rows of one partition, and its statistics hold for all.
"""

from __future__ import annotations

import io
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from functools import cache
from typing import Any, Final, cast
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable
from deltalake.transaction import AddAction, RemoveAction

from ..outputs.coding import worded
from .packing import packed
from .store import Store, now_ms
from .tables import LakeTable

MAX_FILE_ROWS: Final = 1_000_000
_SCHEMA_KEY: Final = "ARROW:schema"
"""Where a Parquet file has the types that its writer meant."""
_SETTLE: Final = re.compile(r"(?:.*/)?settle-(\d+)-of-([^/]+)-[0-9a-f]{12}\.parquet\Z")


def settle_name(app: str, version: int) -> str:
    """What names of files of a settle begin with; `app` is GROUP/ORDINAL. Of signs that logs escape none is in them:
    OPTIMIZE of deltalake would look for the escaped name."""
    return f"settle-{version}-of-{app.replace('/', '@')}"


def settle_of(path: str) -> tuple[str, int] | None:
    """Who wrote a file, and in which settle; None where it was no numbered one."""
    found = _SETTLE.match(unquote(path))
    return (re.sub("[@~]", "/", found[2]), int(found[1])) if found else None  # ~ in files of versions before


def write_parts(
    store: Store,
    table: LakeTable,
    rows: pl.DataFrame,
    name: str,
    *,
    max_rows: int = MAX_FILE_ROWS,
    is_new: bool = True,
    partition: dict[str, str | None] | None = None,
) -> list[AddAction]:
    """Write `rows` (as `tables.stored` gives them, in any order) as files that begin with `name`.

    The actions are to be committed. Who knows that rows are all of one `partition` says so. Rows that are not new are
    packed, for they are written once more and then stay.
    """
    actions: list[AddAction] = []
    wholes = by_partition(table, rows) if partition is None else [(partition, rows)]
    pieces = ((where, part.slice(at, max_rows)) for where, part in wholes for at in range(0, part.height, max_rows))
    try:
        for where, piece in pieces:
            folder = "/".join(f"{key}={value}" for key, value in where.items())
            path = f"{folder}/{name}-{uuid.uuid4().hex[:12]}.parquet"
            if is_new:
                size = store.write_rows(table, path, worded(piece), _form(table, piece.height))
            else:
                content = packed(piece)
                size = len(content)
                store.write(table, path, content)
            stats = json.dumps(_statistics(piece))
            actions.append(AddAction(path, size, where, now_ms(), is_new, stats))
    except BaseException:
        store.discard(table, [action.path for action in actions])
        raise
    return actions


def by_partition(table: LakeTable, rows: pl.DataFrame) -> Iterator[tuple[dict[str, str | None], pl.DataFrame]]:
    """Rows by partition, the oldest first; those of one in the order in which they are given."""
    if rows.is_empty():
        return
    every = "1h" if "hour" in table.partitions else "1d"
    least, most = (pl.Series([rows["time"].min(), rows["time"].max()]).dt.truncate(every)).to_list()
    if least == most:  # nearly always
        yield partition_of(table, least), rows
        return
    begins = rows["time"].dt.truncate(every)
    for begin in begins.unique().sort():
        yield partition_of(table, begin), rows.filter(begins == begin)


def partition_of(table: LakeTable, time: datetime) -> dict[str, str | None]:
    """The partition that holds a time, as logs write it."""
    whole: dict[str, str | None] = {"date": f"{time:%Y-%m-%d}", "hour": str(time.hour)}
    return {name: whole[name] for name in table.partitions}


def removal(add: Mapping[str, object], table: LakeTable, *, is_change: bool) -> RemoveAction:
    """What takes a file of `files_of` away; `is_change` where its rows go too."""
    partition: dict[str, str | None] = {name: _told(add[f"partition.{name}"]) for name in table.partitions}
    path, size = cast("str", add["path"]), cast("int", add["size_bytes"])
    return RemoveAction(path, is_change, now_ms(), size, partition)


def files_of(table: DeltaTable) -> pl.DataFrame:
    """The files that a table has now: `path`, `size_bytes`, `num_records`, `min.COLUMN`, `max.COLUMN`,
    `partition.COLUMN`, ..."""
    import pyarrow as pa

    return cast("pl.DataFrame", pl.from_arrow(pa.table(table.get_add_actions(flatten=True))))


def _form(table: LakeTable, rows: int) -> dict[str, Any]:
    """How files are written as they come: quickly, for the next care of the table packs them. Snappy takes a third of
    zstd's time at a fifth more bytes, and statistics of row groups would be a quarter of the writing."""
    return {
        "compression": "snappy",
        "row_group_size": max(rows, 1),
        "statistics": False,
        "metadata": {_SCHEMA_KEY: _schema_text(table.name)},
    }


@cache
def _schema_text(name: str) -> str:
    """What a file says of its columns' types: text is text, though its pages hold codes."""
    from .tables import TABLES

    file = io.BytesIO()
    TABLES[name].stored.to_frame().write_parquet(file)
    file.seek(0)
    return pl.read_parquet_metadata(file)[_SCHEMA_KEY]


def _statistics(rows: pl.DataFrame) -> dict[str, object]:
    least, most = ({"time": _iso(time)} for time in (rows["time"].min(), rows["time"].max()))
    return {"numRecords": rows.height, "minValues": least, "maxValues": most, "nullCount": {"time": 0}}


def _iso(time: object) -> str:
    assert isinstance(time, datetime)  # noqa: S101 - a file has rows, and a row a time
    return f"{time:%Y-%m-%dT%H:%M:%S.%f}Z"


def _told(value: object) -> str:
    return f"{value:%Y-%m-%d}" if isinstance(value, date) else str(value)
