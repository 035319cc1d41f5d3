"""What a lake holds, by table: rows, files, bytes, of which time, what is missing, and who has written how far."""

from __future__ import annotations

import logging
from typing import Final
from urllib.parse import unquote

import polars as pl

from ..errors import TransientError
from .parts import files_of, settle_of
from .store import REFUSALS, Store
from .tables import FLOWS, TABLES, LakeTable

log = logging.getLogger(__name__)

MOST_NAMED: Final = 10
"""Missing files of a table that are named."""
SUMMARY: Final = pl.Schema(
    {
        "table": pl.String(),
        "version": pl.Int64(),
        "rows": pl.Int64(),
        "files": pl.Int64(),
        "bytes": pl.Int64(),
        "bytes_per_row": pl.Float64(),
        "since": pl.Datetime("us", "UTC"),
        "until": pl.Datetime("us", "UTC"),
        "missing_files": pl.Int64(),  # that the log names, and that are not there or not of the size that it says
    }
)


def summary_of(store: Store) -> pl.DataFrame:
    """One row of SUMMARY for each table that is there; files that are missing are logged.

    Raises TransientError where the store does not answer.
    """
    rows: list[dict[str, object]] = []
    for table in TABLES.values():
        if (at := store.open(table)) is None:
            continue
        files = files_of(at)
        row: dict[str, object] = {"table": table.name, "version": at.version()}
        row |= {"rows": 0, "files": 0, "bytes": 0, "missing_files": _missing(store, table, files)}
        if files.height:
            count, size = int(files["num_records"].sum()), int(files["size_bytes"].sum())
            row |= {"rows": count, "files": files.height, "bytes": size, "bytes_per_row": round(size / count, 1)}
            row |= {"since": files["min.time"].min(), "until": files["max.time"].max()}
        rows.append(row)
    return pl.DataFrame(rows, schema=SUMMARY)


def _missing(store: Store, table: LakeTable, files: pl.DataFrame) -> int:
    if files.is_empty():
        return 0
    try:
        there = store.sizes(table)
    except REFUSALS as error:
        raise TransientError(f"lake: {store.location(table)}: {error}") from error
    sizes = ((unquote(path), size) for path, size in files.select("path", "size_bytes").iter_rows())
    missing = [path for path, size in sizes if there.get(path) != size]
    for path in missing[:MOST_NAMED]:
        log.warning("lake: %s/%s is not there, or not of the size that the log says", store.location(table), path)
    return len(missing)


def settles_of(store: Store) -> dict[str, int]:
    """The last settle of each application of which files are there, by its name."""
    if (at := store.open(FLOWS)) is None:
        return {}
    apps = {settle[0] for path in files_of(at)["path"] if (settle := settle_of(path)) is not None}
    return {app: at.transaction_version(app) or 0 for app in sorted(apps)}
