"""What readers remember of tables, so that a question after the first reads of the log only what is new in it.

It is of this process, and of the tables that were asked last. The invariant: what is told is the table as it is now,
also where another one took its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl
from deltalake import DeltaTable

from .parts import files_of
from .store import REFUSALS, Store
from .tables import LakeTable

_MAX_TABLES: Final = 16


@dataclass(frozen=True, slots=True)
class _Known:
    table: DeltaTable
    entry: tuple[int, int] | None
    """The last of its log that was read."""
    files: pl.DataFrame


_known: dict[tuple[str, tuple[tuple[str, str], ...]], _Known] = {}


def files_now(store: Store, table: LakeTable) -> pl.DataFrame | None:
    """`files_of` a table as it is now; None where there is no table. Raises TransientError as `Store.open` does."""
    key = (store.location(table), tuple(sorted(store.options.items())))
    known = _known.pop(key, None)
    if known is not None and not _is_last(store, table, known):
        known = _gone_on(store, table, known)
    if known is None:
        if (at := store.open(table)) is None:
            return None
        known = _Known(at, store.entry(table, at.version()), files_of(at))
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
    if store.entry(table, before) not in (known.entry, None):
        return None
    try:
        known.table.update_incremental()
    except REFUSALS:
        return None
    version = known.table.version()
    files = known.files if version == before else files_of(known.table)
    return _Known(known.table, store.entry(table, version), files)
