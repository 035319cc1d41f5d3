"""What is made of commits to FLOWS: roll-ups by minute and hour, and the flows that policies deny.

Each commit to a derived table says up to which version of FLOWS it goes, in the same transaction as its rows, so every
file of flows is folded exactly once, whoever is killed when. Compaction moves rows and changes none: it is passed over.
So is what other engines rewrite: roll-ups keep what was counted until somebody deletes it there too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from ..errors import TransientError
from .parts import files_of, write_parts
from .store import REFUSALS, Store
from .tables import DERIVED, FLOWS, FLOWS_1H, FLOWS_1M, POLICY_EVENTS, SUMS, LakeTable, stored, told

log = logging.getLogger(__name__)

FOLDED: Final = "flowatlas#folded"
"""The transaction of derived tables: its number is the version of FLOWS."""
_ROWS_AT_A_TIME: Final = 300_000
_HASHES: Final = {"hash": 1, "other_hash": 2}
"""128 bits that stand for a key: no two keys of any cluster will have them alike."""
_KEYS: Final = tuple(name for name in FLOWS_1M.columns if name not in SUMS)


def fold(store: Store) -> int:
    """Bring the derived tables up to FLOWS as it is now; how many files of flows were to be read.

    Files that the log names and that are gone, as of a copy that is not whole, are passed over: nothing brings them
    back.
    Raises TransientError where the store refuses, or others do the same at this moment.
    """
    flows = store.open(FLOWS)
    if flows is None:
        return 0
    tables = {table.name: store.opened(table) for table in DERIVED}
    lacking: dict[tuple[int, int], list[LakeTable]] = {}
    for table in DERIVED:
        done = tables[table.name].transaction_version(FOLDED)
        if done is None or done < flows.version():
            lacking.setdefault((-1 if done is None else done, flows.version()), []).append(table)
    read = 0
    for (done, until), wanting in lacking.items():
        paths = _files(store, flows, done, until)
        read += len(paths)
        try:
            parts = [_derived(store, some, wanting) for some in _some_at_a_time(paths)]
        except TransientError:
            if len(there := _there(store, paths)) == len(paths):
                raise
            log.warning("lake: files of flows that went before they were folded: %d", len(paths) - len(there))
            parts = [_derived(store, some, wanting) for some in _some_at_a_time(there)]
        for table in wanting:
            rows = [part[table.name] for part in parts]
            _commit(store, table, tables[table.name], merged(pl.concat(rows), table) if rows else None, until)
    return read


def unfolded(store: Store, flows: DeltaTable) -> list[str]:
    """Paths of files of FLOWS that some derived table does not know yet, whether or not they are in it still."""
    tables = (store.open(table) for table in DERIVED)
    done = [None if table is None else table.transaction_version(FOLDED) for table in tables]
    least = min(-1 if number is None else number for number in done)
    return [path for path, _ in _files(store, flows, least, flows.version())]


def rolled_up(flows: pl.LazyFrame, every: str) -> pl.LazyFrame:
    """Rows of FLOWS as those of FLOWS_1M (`1m`) or FLOWS_1H (`1h`): canonical ones, so that sums are true."""
    outcomes = {name: (pl.col("outcome") == name) for name in ("refused", "reset", "no_reply")}
    kept = ("packets", "bytes", "reply_packets", "reply_bytes", "retransmits")
    keys = pl.struct(_KEYS)
    return (
        flows.filter(pl.col("role") == "canonical")
        .with_columns(pl.col("time").dt.truncate(every))
        .with_columns(*(keys.hash(seed).alias(name) for name, seed in _HASHES.items()))  # else text is told apart
        .group_by(_HASHES.keys())
        .agg(
            pl.col(_KEYS).first(),
            pl.len().cast(pl.UInt64).alias("observations"),
            pl.col("opened").cast(pl.UInt64).sum().alias("connections"),
            *(is_so.sum().cast(pl.UInt64).alias(name) for name, is_so in outcomes.items()),
            *(pl.col(name).cast(pl.UInt64).sum() for name in kept),
        )
        .select(FLOWS_1M.columns.names())
    )


def merged(rows: pl.DataFrame, table: LakeTable) -> pl.DataFrame:
    """Rows of a table with those added up that are alike, where it is of sums."""
    if not table.sums:
        return rows
    keys = [name for name in rows.columns if name not in table.sums]
    return rows.group_by(keys).agg(pl.col(*table.sums).sum()).select(rows.columns)


def policy_events(flows: pl.LazyFrame) -> pl.LazyFrame:
    """Rows of FLOWS that are of POLICY_EVENTS."""
    is_denied = (pl.col("verdict") == "denied") & (pl.col("role") == "canonical")
    return flows.filter(is_denied | (pl.col("mismatch") != "")).select(POLICY_EVENTS.columns.names())


def _derived(store: Store, paths: Sequence[str], tables: Sequence[LakeTable]) -> dict[str, pl.DataFrame]:
    rows = told(store.scan(FLOWS, paths), FLOWS)
    wanted = {
        POLICY_EVENTS.name: policy_events(rows),
        FLOWS_1M.name: rolled_up(rows, "1m"),
        FLOWS_1H.name: rolled_up(rows, "1h"),
    }
    try:
        made = pl.collect_all([wanted[table.name] for table in tables])
    except REFUSALS as error:
        raise TransientError(f"lake: {FLOWS.name}: {error}") from error
    return dict(zip((table.name for table in tables), made, strict=True))


def _files(store: Store, flows: DeltaTable, done: int, until: int) -> list[tuple[str, int]]:
    """Path and rows of the files that were added since `done`; all that there are, where nothing was folded yet."""
    if done < 0:
        files = files_of(flows).select("path", "num_records")
        return [(unquote(path), rows or 0) for path, rows in files.iter_rows()]
    import json

    entries = store.commits(FLOWS, done, until)
    if gone := until - done - len(entries):
        log.warning("lake: entries of the log that went before they were folded, so that roll-ups lack them: %d", gone)
    added = (add for entry in entries for add in additions(entry))
    return [(unquote(add["path"]), int(json.loads(add["stats"])["numRecords"])) for add in added]


def additions(entry: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What a commit to a table added of rows that the table never had: nothing where it took others out for them, as
    DELETE, UPDATE and MERGE of other engines write anew what they leave of a file, or put back what was there."""
    is_restored = any(action.get("commitInfo", {}).get("operation") == "RESTORE" for action in entry)
    if is_restored or any(action.get("remove", {}).get("dataChange") for action in entry):
        return []
    return [action["add"] for action in entry if action.get("add", {}).get("dataChange")]


def _there(store: Store, files: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Of files those that are in their place."""
    try:
        sizes = store.sizes(FLOWS)
    except REFUSALS as error:
        raise TransientError(f"lake: {FLOWS.name}: {error}") from error
    return [(path, rows) for path, rows in files if path in sizes]


def _some_at_a_time(files: Sequence[tuple[str, int]]) -> list[list[str]]:
    """Paths in lots that memory holds."""
    lots: list[list[str]] = []
    rows = _ROWS_AT_A_TIME
    for path, count in files:
        if rows + count > _ROWS_AT_A_TIME:
            lots.append([])
            rows = 0
        lots[-1].append(path)
        rows += count
    return lots


def _commit(store: Store, table: LakeTable, at: DeltaTable, rows: pl.DataFrame | None, until: int) -> None:
    try:
        actions = []
        if rows is not None and rows.height:
            actions = write_parts(store, table, stored(rows.sort("time"), table), "fold")
        store.commit(table, at, actions, {FOLDED: until})
    except CommitFailedError as error:
        store.discard(table, [action.path for action in actions])
        raise TransientError(f"lake: {table.name}: others fold at this moment: {error}") from error
    except REFUSALS as error:
        raise TransientError(f"lake: {table.name}: {error}") from error
