"""The writer of the history: rows are held until they are committed to the Delta tables of `pipeline.lake`.

A lake of an application (`GROUP/ORDINAL`) numbers its settles, and each counts once: FLOWS is committed last, and what
it has is what counts as written. What an unfinished settle left in other tables is taken back at the next start.
The invariant: after `start`, whoever wrote for the same application before can commit nothing any more, and `commit`
returns only when every row it was given is on disk and in the log.

Without an application rows are written at least once: `flush` gives no number.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from collector.schema import make_folder

from ..errors import ConfigError, PermanentError, TransientError
from ..kept import Frames
from ..lake.tables import FLOWS, FORMER, SETTLED, TABLES, LakeTable, stored
from .coding import Codes, coded_schema

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from deltalake.transaction import AddAction

log = logging.getLogger(__name__)

MAX_FILE_ROWS: Final = 1_000_000
_TRIES: Final = 20


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A commit of which the answer got lost."""

    paths: list[str]
    numbers: Mapping[str, int]
    frames: int
    """How many of the frames that are held are in it, from the first on."""


class Lake:
    """A writer of the history below `root`: a folder or the URL of an object store, of which `options` tell."""

    def __init__(
        self,
        root: Path | str,
        *,
        app: str | None = None,
        options: Mapping[str, str] | None = None,
        max_file_rows: int = MAX_FILE_ROWS,
    ) -> None:
        self._root = str(root)
        self._options = options or {}
        self.app = app
        """The name under which settles are numbered."""
        self._max_file_rows = max_file_rows
        self._at: dict[str, DeltaTable] = {}
        self._epoch = 0
        self._held: dict[str, list[pl.DataFrame]] = {table.name: [] for table in SETTLED}
        self._doubts: dict[str, _Doubt] = {}
        """By table, a commit of which it is not known whether it went through."""
        self._renew()

    @property
    def held_rows(self) -> int:
        """Rows that are not on disk yet."""
        return sum(frame.height for frames in self._held.values() for frame in frames)

    def start(self) -> None:
        """Make what tables there are not, and shut out who wrote for this application before.

        Raises ConfigError where the place cannot be written to or holds other tables, TransientError where it does not
        answer.
        """
        from ..lake.rewound import catch_up
        from ..lake.store import Store, is_url

        if not is_url(self._root):
            _prepare(Path(self._root))
        self._store = Store(self._root, self._options)
        for table in TABLES.values():
            self._at[table.name] = self._store.opened(table)
        catch_up(self._store, self._at)
        if self.app is None:
            return
        self._epoch = 0
        self._epoch = self._fence(FLOWS, 1 + max(self._fence_of(table) for table in SETTLED))
        for table in SETTLED[:-1]:
            self._fence(table, self._epoch)
            self._take_back(table)

    def committed(self, app: str | None = None) -> int | None:
        """The number of the last settle of this application, or of another; None where there was none. Raises
        TransientError where the table cannot be read."""
        name = app or self.app
        return self._number(FLOWS, name) if name is not None else None

    def places(self) -> dict[str, dict[str, Any]] | None:
        """The places on the bus that our last settle has all of; None where none tells. Raises TransientError."""
        from ..lake.rewound import places_of

        return places_of(self._store, self._at[FLOWS.name], self.app) if self.app is not None else None

    def add(self, rows: pl.DataFrame, table: str = FLOWS.name) -> None:
        """Hold rows of a table of SETTLED until the next commit; best with text as `codes`."""
        wanted = self._schemas[table]
        if rows.schema not in (TABLES[table].columns, wanted):
            raise ValueError(f"{table} has other columns: {rows.schema}")
        if rows.height:
            self._held[table].append(rows.cast(wanted))

    def state(self) -> Frames:
        """The rows that are held."""
        return {f"{name}/{place}": rows for name, held in self._held.items() for place, rows in enumerate(held)}

    def restore(self, frames: Frames) -> int:
        """Hold rows again. Columns that have come since are null, and those that have gone are left out."""
        misfits = 0
        for key, rows in frames.items():
            name = key.partition("/")[0]
            columns = TABLES[name].columns
            if rows.columns != columns.names():
                misfits += rows.height
            lacking = [pl.lit(None, kind).alias(column) for column, kind in columns.items() if column not in rows]
            self.add(rows.with_columns(*lacking).select(columns.names()).cast(columns), name)
        return misfits

    def commit(self, version: int, offsets: Mapping[str, object] | None = None) -> None:
        """Write what is held as settle `version`; `offsets` are kept with it. Also without a row it is on record.

        Raises TransientError where the disk refuses: what is not written stays held, and the next call takes it up.
        Raises PermanentError where another process has taken over, or the number was given before.
        """
        from ..lake.parts import settle_name
        from ..lake.store import PLACES

        if self.app is None:
            raise ValueError("a lake without an application numbers nothing")
        if (last := self.committed()) is not None and version <= last:
            raise PermanentError(f"lake: {self.app} has committed {last} already, and {version} is not beyond it")
        for table in SETTLED:
            if self._held[table.name] or table is FLOWS:
                numbers = {self.app: version, self._fence_name: self._epoch}
                told = {"flowatlas.settle": version, PLACES: dict(offsets or {})}
                self._write(table, settle_name(self.app, version), numbers, told)
        self._renew()

    def flush(self) -> None:
        """Write what is held, without a number. Raises TransientError as `commit` does."""
        for table in SETTLED:
            if self._held[table.name]:
                self._write(table, "part", {}, {})
        self._renew()

    @property
    def _fence_name(self) -> str:
        return f"{self.app}#fence"

    def _renew(self) -> None:
        """Begin with no text: addresses and names of the outside are ever new ones."""
        self.codes = Codes()
        """What `add` best takes text as; other ones after each flush."""
        self._schemas = {table.name: coded_schema(table.columns, self.codes) for table in SETTLED}

    def _write(self, table: LakeTable, name: str, numbers: Mapping[str, int], told: Mapping[str, object]) -> None:
        """Write the rows of one table and commit them; they are held no more then."""
        from deltalake.exceptions import CommitFailedError

        from ..lake.parts import write_parts
        from ..lake.store import REFUSALS

        self._is_through(table)
        at = self._at[table.name]
        if numbers:
            self._refuse_if_other(table, self._epoch)
        held = self._held[table.name]
        actions: list[AddAction] = []
        try:
            if held:
                rows = stored(pl.concat(held), table)
                actions = write_parts(self._store, table, rows, name, max_rows=self._max_file_rows)
            self._store.commit(table, at, actions, numbers, told)
        except REFUSALS as error:
            self._doubts[table.name] = _Doubt([action.path for action in actions], numbers, len(held))
            if not self._is_through(table):
                if isinstance(error, CommitFailedError) and numbers:
                    self._refuse_if_other(table, self._epoch)
                raise TransientError(f"lake: {table.name}: {error}") from error
        else:
            self._held[table.name] = []

    def _is_through(self, table: LakeTable) -> bool:
        """Whether a commit of which nothing is known went through, where there is one; its rows are held no more then.

        Raises TransientError as long as the table cannot be read: neither its rows nor its files are touched before.
        """
        from ..lake.parts import files_of
        from ..lake.store import REFUSALS

        if (doubt := self._doubts.get(table.name)) is None:
            return False
        at = self._at[table.name]
        try:
            at.update_incremental()
            is_there = (
                doubt.paths[0] in files_of(at)["path"]
                if doubt.paths
                else bool(doubt.numbers)
                and all(at.transaction_version(name) == number for name, number in doubt.numbers.items())
            )
        except REFUSALS as error:
            raise TransientError(f"lake: {table.name}: {error}") from error
        del self._doubts[table.name]
        if is_there:
            del self._held[table.name][: doubt.frames]
        else:
            self._store.discard(table, doubt.paths)
        return is_there

    def _fence(self, table: LakeTable, least: int) -> int:
        """Let no commit through that was begun under an earlier fence. The number of this one, `least` or more; where
        we have one already it must be that."""
        from deltalake.exceptions import CommitFailedError

        from ..lake.store import REFUSALS

        for _ in range(_TRIES):
            at = self._at[table.name]
            number = max(least, self._fence_of(table) + 1)
            if self._epoch and number > self._epoch:
                raise PermanentError(f"lake: another process writes for {self.app}")
            try:
                self._store.commit(table, at, [], {self._fence_name: number})
            except CommitFailedError:
                self._at[table.name] = self._store.opened(table)
            except REFUSALS as error:
                raise TransientError(f"lake: {table.name}: {error}") from error
            else:
                self._refuse_if_other(table, number)
                return number
        raise TransientError(f"lake: {table.name}: others commit without end")

    def _take_back(self, table: LakeTable) -> None:
        """Take what an unfinished settle wrote to a table out of it: its rows are applied again."""
        from ..lake.parts import files_of, removal, settle_of
        from ..lake.store import MAINTENANCE, REFUSALS

        at, finished = self._at[table.name], self.committed() or 0
        files = files_of(at).to_dicts()
        left = [file for file in files if (of := settle_of(file["path"])) and of[0] == self.app and of[1] > finished]
        if not left:
            return
        log.warning("lake: %d files of an unfinished settle are taken out of %s", len(left), table.name)
        numbers = {
            str(self.app): finished,
            self._fence_name: self._epoch,
            MAINTENANCE: (at.transaction_version(MAINTENANCE) or 0) + 1,
        }
        try:
            self._store.commit(table, at, [removal(file, table, is_change=True) for file in left], numbers)
        except REFUSALS as error:
            raise TransientError(f"lake: {table.name}: {error}") from error

    def _fence_of(self, table: LakeTable) -> int:
        return self._number(table, self._fence_name) or 0

    def _number(self, table: LakeTable, name: str) -> int | None:
        """The number of a transaction; it is looked up in the log, as it was when we wrote last."""
        from ..lake.store import REFUSALS

        at = self._at[table.name]
        try:
            try:
                return at.transaction_version(name)
            except REFUSALS:  # those entries were cleaned up since
                at.update_incremental()
                return at.transaction_version(name)
        except REFUSALS as error:
            raise TransientError(f"lake: {table.name}: {error}") from error

    def _refuse_if_other(self, table: LakeTable, epoch: int) -> None:
        if self._fence_of(table) != epoch:
            raise PermanentError(f"lake: another process has taken over from this one as {self.app}")


def _prepare(root: Path) -> None:
    """Make the folder, and put Parquet of versions before Delta aside."""
    try:
        make_folder(root)
        flows = root / FLOWS.name
        if flows.is_dir() and not (flows / "_delta_log").is_dir() and any(flows.glob("date=*")):
            flows.rename(root / FORMER)
            log.warning("lake: the Parquet history of before is in %s now, and is read from there", root / FORMER)
    except OSError as error:
        raise ConfigError(f"pipeline.lake: {root}: {error.strerror}") from None
    if not os.access(root, os.W_OK):
        raise ConfigError(f"pipeline.lake: {root}: not writable")
