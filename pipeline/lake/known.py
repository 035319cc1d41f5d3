"""What readers remember of tables, so that a question after the first reads of the log only what is new in it.

It is of this process, and of the tables that were asked last. The invariant: what is told is the table as it is now,
also where another one took its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final
from urllib.parse import unquote

import numpy as np
import polars as pl
from deltalake import DeltaTable
from numpy.typing import NDArray

from .parts import files_of
from .store import REFUSALS, Store
from .tables import LakeTable

_MAX_TABLES: Final = 16
_STATED_TO_US: Final = 1_000
"""How exactly a log may tell the last time of a file: of what others have written, say."""
_BEFORE_ALL: Final = -(1 << 62)
_AFTER_ALL: Final = 1 << 62


@dataclass(frozen=True)
class Files:
    """The files of a table, the one that begins first in front."""

    frame: pl.DataFrame
    """As `files_of` gives them."""

    @cached_property
    def paths(self) -> list[str]:
        """Where they are, below the table."""
        return [unquote(path) for path in self.frame["path"]]

    @cached_property
    def first_us(self) -> NDArray[np.int64]:
        """The first time in each; that of one of which nothing is known is before all others."""
        return self._times("min.time", _BEFORE_ALL)

    @cached_property
    def last_us(self) -> NDArray[np.int64]:
        """The last time in each, rounded up; that of one of which nothing is known is after all others."""
        return self._times("max.time", _AFTER_ALL - _STATED_TO_US) + _STATED_TO_US

    def of(self, since_us: int | None, until_us: int | None) -> tuple[list[str], bool]:
        """Which may have rows with `since_us <= time < until_us`, and whether they have no others."""
        since, until = _BEFORE_ALL if since_us is None else since_us, _AFTER_ALL if until_us is None else until_us
        may_hold = np.flatnonzero((self.last_us >= since) & (self.first_us < until))
        is_within = (since_us is None or bool((self.first_us[may_hold] >= since).all())) and (
            until_us is None or bool((self.last_us[may_hold] < until).all())
        )
        return [self.paths[place] for place in may_hold], is_within

    def _times(self, name: str, unknown: int) -> NDArray[np.int64]:
        return self.frame[name].dt.timestamp("us").fill_null(unknown).to_numpy()


@dataclass(frozen=True, slots=True)
class _Known:
    table: DeltaTable
    entry: tuple[int, int] | None
    """The last of its log that was read."""
    files: Files


_known: dict[tuple[str, tuple[tuple[str, str], ...]], _Known] = {}


def files_now(store: Store, table: LakeTable) -> Files | None:
    """The files of a table as it is now; None where there is no table. Raises TransientError as `Store.open` does."""
    key = (store.location(table), tuple(sorted(store.options.items())))
    known = _known.pop(key, None)
    if known is not None and not _is_last(store, table, known):
        known = _gone_on(store, table, known)
    if known is None:
        if (at := store.open(table)) is None:
            return None
        known = _Known(at, store.entry(table, at.version()), _files(at))
    _known[key] = known
    while len(_known) > _MAX_TABLES:
        _known.pop(next(iter(_known)))
    return known.files


def _is_last(store: Store, table: LakeTable, known: _Known) -> bool:
    """Whether a log surely ends with the entry that was read last: two looks, where a listing takes long."""
    version = known.table.version()
    is_there = known.entry is not None and known.entry == store.entry(table, version)
    return is_there and store.entry(table, version + 1) is None


def _gone_on(store: Store, table: LakeTable, known: _Known) -> _Known | None:
    """The table with what is new in its log; None where that was cleaned up, or is of another table by now."""
    before = known.table.version()
    if store.entry(table, before) != known.entry:
        return None
    try:
        known.table.update_incremental()
    except REFUSALS:
        return None
    store.refuse_features(table, known.table)
    version = known.table.version()
    files = known.files if version == before else _files(known.table)
    return _Known(known.table, store.entry(table, version), files)


def _files(table: DeltaTable) -> Files:
    files = files_of(table)
    return Files(files if files.is_empty() else files.sort("min.time", "path"))
