"""The care of the tables: fold what is derived, merge small files, forget what is old, delete what no reader needs.

Everything is a commit of its own, so it may be killed at any instant and done by several at once: one of two that take
the same file out is refused. The invariant: a reader that began less than `READERS_HOURS` ago finds its files, and
rows of a settle that is not finished are left as they are, for they may be taken back.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from math import ceil
from typing import Any, Final
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction

from ..errors import ConfigError, TransientError
from ..outputs.coding import Codes, coded_schema
from .folding import additions, fold, merged, unfolded
from .parts import files_of, removal, settle_of, write_parts
from .store import LOG_HOURS, MAINTENANCE, PLACES, READERS_HOURS, REFUSALS, Store, adjust, columns_of, kept_out, now_ms
from .tables import FLOWS, FORMER, TABLES, LakeTable

log = logging.getLogger(__name__)

LOOSE_FILES: Final = 32
"""So many small files of an hour are merged before the hour is over."""
RUN_ROWS: Final = 150_000
"""So many rows are sorted at once, into one file; sorted ones of half as many are left as they are."""
SUM_ROWS: Final = 8 * RUN_ROWS
"""So many rows of sums are added up at once: in a large cluster five minutes have as many keys as are sorted at once,
and an hour has hardly more."""
_IDLE: Final = timedelta(minutes=10)
"""After the end of an hour or a day this long nothing but late rows is expected of it."""
_LONG_S: Final = LOG_HOURS * 1800.0
"""In a round that takes longer the log of FLOWS is not cleaned up: it may have entries that are still to be folded."""
_SORTED: Final = "sorted"


@dataclass(slots=True)
class Care:
    """What one round did."""

    folded_files: int = 0
    merged_files: dict[str, int] = field(default_factory=dict)
    forgotten_files: dict[str, int] = field(default_factory=dict)
    deleted_files: dict[str, int] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    """Files that a log names and that cannot be read: they and those that were to be merged with them stay as they
    are."""


class _UnreadableError(Exception):
    """A file of a table cannot be read."""


def maintain(
    store: Store,
    now: datetime,
    *,
    keep_days: Mapping[str, int] | None = None,
    readers_hours: int = READERS_HOURS,
) -> Care:
    """One round over all tables. Raises TransientError where the store refuses or others do the same; but a file that
    cannot be read keeps no other from its care.

    Where there is no room to fold, what is old is forgotten and deleted nevertheless, for that makes room.
    """
    for table in TABLES.values():
        store.mend(table)
    try:
        store.refuse_if_none()
    except ConfigError as error:  # a pipeline may make it yet
        raise TransientError(str(error)) from None
    care = Care()
    begin_s = time.monotonic()
    try:
        care.folded_files = fold(store)
    except TransientError:
        _make_room(store, now, keep_days or {}, readers_hours)
        raise
    finished = store.open(FLOWS)
    for table in TABLES.values():
        at = store.open(table)
        if at is None or finished is None:
            continue
        with _sorted_errors(table):
            oldest = _oldest(table, now, keep_days or {})
            care.forgotten_files[table.name] = forget(store, table, at, oldest, now)
            care.merged_files[table.name] = compact(store, table, at, now, finished, care.unreadable)
            care.deleted_files[table.name] = _vacuum(at, readers_hours)
            _clear(store, table, oldest)
            if care.merged_files[table.name]:
                at.create_checkpoint()
            if table is not FLOWS or (time.monotonic() - begin_s < _LONG_S and _is_written_to(store, at)):
                at.cleanup_metadata()
    _forget_former(store, _oldest(FLOWS, now, keep_days or {}))
    return care


def _make_room(store: Store, now: datetime, keep_days: Mapping[str, int], readers_hours: int) -> None:
    """Forget and delete, but nothing of which roll-ups are still to be made."""
    for table in TABLES.values():
        try:
            with _sorted_errors(table):
                if (at := store.open(table)) is None:
                    continue
                if table is not FLOWS:
                    forget(store, table, at, _oldest(table, now, keep_days), now)
                elif not set(unfolded(store, at)) <= {unquote(path) for path in files_of(at)["path"]}:
                    continue
                _vacuum(at, readers_hours)
        except TransientError as error:
            log.warning("%s", error)


def _oldest(table: LakeTable, now: datetime, keep_days: Mapping[str, int]) -> datetime:
    return now - timedelta(days=keep_days.get(table.name, table.keep_days))


def _vacuum(at: DeltaTable, readers_hours: int) -> int:
    """Delete files that have been out of the table for so long; how many."""
    adjust(at, kept_out(readers_hours))
    gone = at.vacuum(readers_hours, dry_run=False, enforce_retention_duration=False, full=True)
    at.update_incremental()
    return len(gone)


def _clear(store: Store, table: LakeTable, before: datetime) -> None:
    """Remove the empty folders of days that are forgotten: each vacuum would look into them for good."""
    if (folder := store.folder(table)) is None:
        return
    for day in folder.glob("date=*"):
        if day.name < f"date={before:%Y-%m-%d}":
            for empty in (*day.glob("hour=*"), day):
                with suppress(OSError):  # it has files yet
                    empty.rmdir()


def _is_written_to(store: Store, flows: DeltaTable) -> bool:
    """Whether a writer's last entry in the log of FLOWS would stay if that were cleaned up. It has the places on the
    bus, for a pipeline that comes back without a snapshot; and a log to which nobody writes does not grow. True where
    others have cleaned it up, so that nothing of that is left to keep."""
    for version in range(flows.version(), 0, -1):
        if not (entries := store.commits(FLOWS, version - 1, version)):
            return True
        (entry,) = entries
        info: dict[str, Any] = next((action["commitInfo"] for action in entry if "commitInfo" in action), {})
        if PLACES in info or additions(entry):
            return int(info.get("timestamp", 0)) > now_ms() - LOG_HOURS * 3_600_000
    return False


@contextmanager
def _sorted_errors(table: LakeTable) -> Iterator[None]:
    """What the store refuses, and what others do at the same time, is tried again in the next round."""
    try:
        yield
    except CommitFailedError as error:
        raise TransientError(f"lake: {table.name}: others care for it at this moment: {error}") from error
    except REFUSALS as error:
        raise TransientError(f"lake: {table.name}: {error}") from error


def compact(
    store: Store, table: LakeTable, at: DeltaTable, now: datetime, flows: DeltaTable, unreadable: list[str]
) -> int:
    """Sort the files of partitions that are over, or have many, and merge small ones; how many there were. What cannot
    be read is passed over, and told in `unreadable`.

    A file is of a short time, so that a window opens few of them; in it rows are in the table's order, by which what is
    alike lies together: of real traffic it halves what is kept. Columns that a later version has added are kept.
    """
    count = 0
    columns = columns_of(at, table)
    for partition, files in _loose(table, at, now, flows):
        for lot in _lots(files, SUM_ROWS if table.sums else RUN_ROWS):
            if len(lot) == 1 and _is_sorted(lot[0]["path"]):
                continue
            gone = [removal(file, table, is_change=False) for file in lot]
            actions: list[AddAction] = []
            try:
                for rows in _in_order(store, table, lot, columns):
                    actions += write_parts(store, table, rows, _SORTED, is_new=False, partition=partition)
            except BaseException as error:
                store.discard(table, [action.path for action in actions])
                if not isinstance(error, _UnreadableError):
                    raise
                unreadable.append(f"{table.name}: {error}")
                continue
            _commit(store, table, at, [*gone, *actions], [action.path for action in actions])
            count += len(lot)
    return count


def _in_order(
    store: Store, table: LakeTable, lot: Sequence[Mapping[str, Any]], columns: pl.Schema
) -> Iterator[pl.DataFrame]:
    """The rows of some files as those of sorted ones: of several added up and by time, of a large one by pieces."""
    codes = coded_schema(columns, Codes())  # text takes three times the memory, and time
    if len(lot) == 1:
        (path, total) = lot[0]["path"], lot[0]["num_records"]
        size = _even(total)
        for begin in range(0, total, size):
            yield _read(store, table, path, columns, begin, size).cast(codes).sort(table.order, maintain_order=True)
        return
    held: list[pl.DataFrame] = []
    for file in lot:
        held.append(_read(store, table, file["path"], columns).cast(codes))
        if sum(rows.height for rows in held) > 2 * RUN_ROWS:
            held = [merged(pl.concat(held), table)]
    whole = merged(pl.concat(held), table)
    if whole.height > RUN_ROWS:
        whole = whole.sort("time")
    for piece in whole.iter_slices(_even(whole.height)):
        yield piece.sort(table.order, maintain_order=True)


def _even(rows: int) -> int:
    """The size of pieces that are alike, and of at most `RUN_ROWS`."""
    return ceil(rows / ceil(rows / RUN_ROWS))


def _read(
    store: Store, table: LakeTable, path: str, columns: pl.Schema, begin: int = 0, size: int | None = None
) -> pl.DataFrame:
    try:
        return store.scan(table, [unquote(path)], columns).slice(begin, size).collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _UnreadableError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error


def forget(store: Store, table: LakeTable, at: DeltaTable, before: datetime, now: datetime) -> int:
    """Take out files all of whose rows are older; how many. Rows of a time to come, as of a node whose clock is ahead
    by years, are as old as their file."""
    files = files_of(at)
    if files.is_empty():
        return 0
    written = pl.from_epoch("modification_time", "ms").dt.replace_time_zone("UTC")
    newest = pl.when(pl.col("max.time") > now).then(written).otherwise(pl.col("max.time"))
    old = files.filter(newest < before).to_dicts()
    if old:
        _commit(store, table, at, [removal(file, table, is_change=True) for file in old], [])
    return len(old)


def _commit(store: Store, table: LakeTable, at: DeltaTable, actions: Sequence[Any], new: Sequence[str]) -> None:
    """Commit what takes files out that `at` shows; of rivals one is refused by the number."""
    try:
        store.commit(table, at, actions, {MAINTENANCE: (at.transaction_version(MAINTENANCE) or 0) + 1})
    except CommitFailedError:
        store.discard(table, new)
        raise


def _loose(
    table: LakeTable, at: DeltaTable, now: datetime, flows: DeltaTable
) -> Iterator[tuple[dict[str, str | None], list[dict[str, Any]]]]:
    """Partitions whose files are worth sorting, with these, and sorted ones that are small beside them."""
    files = files_of(at)
    if files.is_empty():
        return
    keys = [f"partition.{name}" for name in table.partitions]
    has_new = pl.col("path").str.contains(f"/{_SORTED}[^/]*$").not_().any().over(keys)  # few of the many of a year
    for values, part in files.filter(has_new).sort("min.time", "path").group_by(keys, maintain_order=True):
        finished = [file for file in part.to_dicts() if _is_finished(file["path"], flows)]
        loose = [file for file in finished if not _is_sorted(file["path"])]
        is_over = now > _end(table, values) + _IDLE
        if len(loose) >= LOOSE_FILES or (is_over and loose):
            told = [f"{value:%Y-%m-%d}" if isinstance(value, date) else str(value) for value in values]
            wanted = [file for file in finished if file["num_records"] < RUN_ROWS // 2 or not _is_sorted(file["path"])]
            yield dict(zip(table.partitions, told, strict=True)), wanted


def _end(table: LakeTable, values: Sequence[Any]) -> datetime:
    day = values[0]
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    if "hour" in table.partitions:
        return begin + timedelta(hours=int(values[1]) + 1)
    return begin + timedelta(days=1)


def _is_sorted(path: str) -> bool:
    return path.rpartition("/")[2].startswith(_SORTED)


def _is_finished(path: str, flows: DeltaTable) -> bool:
    """Whether a file is of a settle that FLOWS has too, or of none."""
    settle = settle_of(path)
    return settle is None or (flows.transaction_version(settle[0]) or 0) >= settle[1]


def _lots(files: Sequence[dict[str, Any]], rows: int) -> Iterator[list[dict[str, Any]]]:
    """Files in lots of at most so many rows, or of one file."""
    lot: list[dict[str, Any]] = []
    held = 0
    for file in files:
        if lot and held + file["num_records"] > rows:
            yield lot
            lot, held = [], 0
        lot.append(file)
        held += file["num_records"]
    if lot:
        yield lot


def _forget_former(store: Store, before: datetime) -> None:
    """Delete days of the Parquet of versions before Delta."""
    folder = store.folder(FLOWS)
    if folder is None:
        return
    for day in (folder.parent / FORMER).glob("date=*"):
        if day.name.removeprefix("date=") < f"{before:%Y-%m-%d}":
            shutil.rmtree(day)
            log.info("lake: %s is forgotten", day)
