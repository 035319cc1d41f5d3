"""Where the tables lie: a folder of this machine, or a place in an object store (`s3://BUCKET/PREFIX`, `gs://`, `az://`).

The invariant: what was written is on disk, and a commit is too, before the call returns; object stores see to it alone.
A commit names the version that it builds on, so that of two for one version one is refused.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Field, PostCommitHookProperties, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from deltalake.transaction import AddAction, RemoveAction
from pyarrow.fs import FileSelector

from collector.schema import make_folder

from ..errors import ConfigError, TransientError
from .mending import ACTIONS, mend
from .tables import TABLES, LakeTable

READER_VERSION: Final = 1
"""Of Delta's protocol: what the log names is what there is."""
LOG_HOURS: Final = 2
"""How long the log keeps entries that a checkpoint has too. Every commit lists the log of a folder several times, so it
costs by their number: a second for each 50,000, which are of a week and of one share."""
CHECKPOINT_COMMITS: Final = 10
"""How often the log has a checkpoint. Every commit reads the entries since, all at once, each in a thread of Delta's
that it then keeps: with 100 of them a commit to 1,200 files took 68 ms of processor, 87 threads and 89 MB, with 10 it
takes 33 ms, 33 threads and 70 MB."""
SETTINGS: Final = {
    "delta.checkpointInterval": str(CHECKPOINT_COMMITS),
    "delta.logRetentionDuration": f"interval {LOG_HOURS} hours",
    "delta.enableExpiredLogCleanup": "false",  # who cares for the tables does, for entries may be still to be folded
}
READERS_HOURS: Final = 24
"""How long a file stays after it was taken out of its table, unless a setting says otherwise."""
MAX_READERS_HOURS: Final = 24 * 30
REFUSALS: Final = (DeltaError, OSError, pl.exceptions.PolarsError, pa.ArrowException)
"""What a disk or an object store that refuses is told by."""
MAINTENANCE: Final = "flowatlas#maintenance"
"""The transaction of whoever takes files out of a table: there is one such commit at a time."""
PLACES: Final = "flowatlas.offsets"
"""Where a settle has the places on the bus up to which it has all."""
_LOG: Final = "_delta_log"
_WRITING: Final = {"timeout": "10s", "max_retries": "2", "retry_timeout": "10s"}
"""A store that hangs is not waited for while a file goes out; options may say otherwise. Who writes tries again."""
_NUMBERS: Final = ("max_retries",)
"""Options that Polars takes as numbers alone, and `deltalake` as text."""


def is_url(root: str) -> bool:
    """Whether a lake lies in an object store."""
    return "://" in root


@dataclass(frozen=True, slots=True)
class Store:
    """The tables below `root`; `options` are those of the object store, as `deltalake` and Polars take them."""

    root: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    def location(self, table: LakeTable) -> str:
        """Where the table is."""
        return f"{self.root.rstrip('/')}/{table.name}"

    def folder(self, table: LakeTable) -> Path | None:
        """The table's folder, where it is on this machine."""
        return None if is_url(self.root) else Path(self.location(table))

    def open(self, table: LakeTable) -> DeltaTable | None:
        """The table as it is now; None where there is none. Raises TransientError where the store does not answer,
        ConfigError as `refuse_features` does."""
        folder = self.folder(table)
        if folder is not None and not (folder / _LOG).is_dir():
            return None
        try:
            found = DeltaTable(self.location(table), storage_options=dict(self.options) or None)
        except TableNotFoundError:
            return None
        except REFUSALS as error:
            raise TransientError(f"lake: {self.location(table)}: {error}") from error
        self.refuse_features(table, found)
        return found

    def refuse_features(self, table: LakeTable, at: DeltaTable) -> None:
        """Raise ConfigError where somebody gave the table features without which its files say something else: of
        deletion vectors we would read, and write anew, rows that were deleted."""
        protocol = at.protocol()
        if protocol.min_reader_version > READER_VERSION:
            asked = ", ".join(protocol.reader_features or ()) or "column mapping"
            raise ConfigError(
                f"lake: {self.location(table)} asks for version {protocol.min_reader_version} of Delta's readers "
                f"({asked}) and is read by version {READER_VERSION} here: take those features back (DROP FEATURE)"
            )

    def refuse_if_none(self) -> None:
        """Raise ConfigError where none of the tables is there, TransientError where the store does not answer."""
        if all(self.open(table) is None for table in TABLES.values()):
            raise ConfigError(f"lake: {self.root} holds no history: there is none of {', '.join(TABLES)}")

    def entry(self, table: LakeTable, version: int) -> tuple[int, int] | None:
        """What tells an entry of a log from another of its number; None where there is none, and in object stores."""
        if (folder := self.folder(table)) is None:
            return None
        try:
            found = (folder / _LOG / log_name(version)).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def opened(self, table: LakeTable) -> DeltaTable:
        """The table, made where there is none, with all of our columns and settings. Raises ConfigError where a column
        is of another type, TransientError where the store refuses."""
        schema = _delta_schema(table)
        self.mend(table)
        found = self.open(table)
        try:
            if found is None:
                found = DeltaTable.create(
                    self.location(table),
                    schema,
                    mode="ignore",
                    partition_by=list(table.partitions),
                    configuration={**SETTINGS, **kept_out(READERS_HOURS)},
                    storage_options=dict(self.options) or None,
                )
                if (folder := self.folder(table)) is not None:
                    for made in (folder / _LOG / log_name(0), folder / _LOG, folder, folder.parent):
                        _sync(made)
            has = {column.name: column.type for column in found.schema().fields}
            for column in schema.fields:
                if column.name in has and has[column.name] != column.type:
                    raise ConfigError(f"lake: {table.name}.{column.name} is {has[column.name]}, not {column.type}")
            adjust(found, SETTINGS)
            if new := [Field(column.name, column.type) for column in schema.fields if column.name not in has]:
                found.alter.add_columns(new)
                found.update_incremental()
        except REFUSALS as error:
            raise TransientError(f"lake: {self.location(table)}: {error}") from error
        return found

    def write_rows(self, table: LakeTable, path: str, rows: pl.DataFrame, form: Mapping[str, Any]) -> int:
        """Write rows as a Parquet file of a table, whole, in the `form` that Polars is told; how many bytes it has.

        What was written by half is in nobody's way: no log names it. Other threads go on meanwhile.
        """
        if self.folder(table) is None:
            rows.write_parquet(f"{self.location(table)}/{path}", storage_options=self._of_polars(_WRITING), **form)
            (told,) = self._files(table, _WRITING).get_file_info([path])
            return int(told.size)
        file = io.BytesIO()
        rows.write_parquet(file, **form)
        self.write(table, path, file.getbuffer())
        return file.tell()

    def write(self, table: LakeTable, path: str, content: bytes | memoryview) -> None:
        """Write a file of a table, as `write_rows` does; but to an object store no other thread of Python runs then."""
        folder = self.folder(table)
        if folder is None:
            # what is public hands it pyarrow's buffers, which it does not take
            remote: Any = self._files(table, _WRITING)._handler.open_output_stream(path, None)
            remote.write(bytes(content))
            remote.close()
            return
        file = folder / path
        if not file.parent.is_dir():
            make_folder(file.parent)
        try:
            with file.open("xb") as local:
                local.write(content)
                local.flush()
                os.fsync(local.fileno())
        except BaseException:
            file.unlink(missing_ok=True)
            raise
        _sync(file.parent)

    def mend(self, table: LakeTable) -> None:
        """Set aside what a power cut has torn of the table's log. Raises PermanentError where that cannot be done."""
        if (folder := self.folder(table)) is not None and (folder / _LOG).is_dir():
            mend(folder / _LOG)

    def discard(self, table: LakeTable, paths: Sequence[str]) -> None:
        """Delete files of this machine that no log names; those of an object store are left to the next vacuum."""
        if (folder := self.folder(table)) is not None:
            for path in paths:
                (folder / path).unlink(missing_ok=True)

    def sizes(self, table: LakeTable) -> dict[str, int]:
        """The bytes of each file below the table, whether or not it is in its log. Raises REFUSALS."""
        folder = self.folder(table)
        if folder is not None:
            found = (path for path in folder.rglob("*") if path.is_file())
            return {path.relative_to(folder).as_posix(): path.stat().st_size for path in found}
        every = FileSelector("", allow_not_found=True, recursive=True)
        files = self._files(table, {}).get_file_info_selector(every)
        return {file.path: int(file.size) for file in files if file.is_file}

    def read(self, table: LakeTable, path: str) -> bytes:
        """A file of a table or of its log. Raises FileNotFoundError."""
        folder = self.folder(table)
        if folder is not None:
            return (folder / path).read_bytes()
        return bytes(self._files(table, {}).open_input_file(path).readall())

    def commit(
        self,
        table: LakeTable,
        at: DeltaTable,
        actions: Sequence[AddAction | RemoveAction],
        transactions: Mapping[str, int],
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        """Add and take away files, on top of what `at` shows, and let `at` show it.

        Commits of others that came since are no obstacle unless they carry a transaction of the same name, or take
        files out where this one does. Raises CommitFailedError then, and others of REFUSALS; whether it went through is
        then not known.
        """
        before = at.version()
        told = {ACTIONS: str(len(actions) + len(transactions))}
        attempt = partial(
            at.create_write_transaction,
            list(actions),
            "append",
            at.schema(),
            partition_by=list(table.partitions),
            commit_properties=CommitProperties(
                custom_metadata=told | {name: json.dumps(value) for name, value in (metadata or {}).items()},
                app_transactions=[Transaction(name, version) for name, version in transactions.items()],
            ),
            post_commithook_properties=PostCommitHookProperties(cleanup_expired_logs=False),
        )
        try:
            attempt()
        except CommitFailedError:  # it is refused too where others have taken out what is old
            known = [at.transaction_version(name) for name in transactions]
            at.update_incremental()
            is_unmoved = bool(known) and known == [at.transaction_version(name) for name in transactions]
            if not is_unmoved or any(isinstance(action, RemoveAction) for action in actions):
                raise
            attempt()
        at.update_incremental()
        if (folder := self.folder(table)) is not None:
            for version in range(before, at.version() + 1):  # with the one that it builds on, which may be another's
                _sync(folder / _LOG / log_name(version))
            _sync(folder / _LOG)

    def commits(self, table: LakeTable, after: int, until: int) -> list[list[dict[str, dict[str, object]]]]:
        """The actions of each commit `after < version <= until` that the log has still. Raises TransientError where the
        store does not answer."""
        logs = []
        try:
            for version in range(after + 1, until + 1):
                with suppress(FileNotFoundError):
                    logs.append(self.read(table, f"{_LOG}/{log_name(version)}"))
        except REFUSALS as error:
            raise TransientError(f"lake: {self.location(table)}: {error}") from error
        return [[json.loads(line) for line in log.splitlines() if line] for log in logs]

    def scan(self, table: LakeTable, paths: Sequence[str], columns: pl.Schema | None = None) -> pl.LazyFrame:
        """The rows of files, as `columns` or else `table.stored`; what one lacks is null."""
        return pl.scan_parquet(
            [f"{self.location(table)}/{path}" for path in paths],
            schema=columns or table.stored,
            missing_columns="insert",
            extra_columns="ignore",
            hive_partitioning=False,
            glob=False,
            storage_options=self._of_polars({}),
        )

    def _of_polars(self, defaults: Mapping[str, str]) -> dict[str, Any] | None:
        """The options as Polars takes them."""
        options: dict[str, Any] = {**defaults, **self.options}
        return {name: int(value) if name in _NUMBERS else value for name, value in options.items()} or None

    def _files(self, table: LakeTable, defaults: Mapping[str, str]) -> DeltaStorageHandler:
        """The same client that writes the log."""
        return DeltaStorageHandler(self.location(table), {**defaults, **self.options} or None)


def kept_out(readers_hours: int) -> dict[str, str]:
    """How long the log remembers when a file was taken out: as long as it then stays, for vacuum goes by that."""
    return {"delta.deletedFileRetentionDuration": f"interval {readers_hours} hours"}


def adjust(at: DeltaTable, settings: Mapping[str, str]) -> None:
    """Give a table settings that it has not. Raises REFUSALS."""
    has = at.metadata().configuration
    if other := {name: value for name, value in settings.items() if has.get(name) != value}:
        at.alter.set_table_properties(other)
        at.update_incremental()


def columns_of(at: DeltaTable, table: LakeTable) -> pl.Schema:
    """The columns of a table's files as its log has them: ours, and those of versions to come."""
    empty = pl.DataFrame(pa.schema(at.schema().to_arrow()).empty_table())
    logged = {name: dtype for name, dtype in empty.schema.items() if name not in table.partitions}
    return pl.Schema({**table.stored, **{name: dtype for name, dtype in logged.items() if name not in table.stored}})


def log_name(version: int) -> str:
    """The file of a commit."""
    return f"{version:020d}.json"


def now_ms() -> int:
    """The time as logs have it."""
    return time.time_ns() // 1_000_000


def _delta_schema(table: LakeTable) -> Schema:
    return Schema.from_arrow(pa.schema(table.whole.to_frame().to_arrow(compat_level=pl.CompatLevel.oldest()).schema))


def _sync(path: Path) -> None:
    """Make a file, or the names in a folder, outlive a power cut."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # a log that was cleaned up since
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
