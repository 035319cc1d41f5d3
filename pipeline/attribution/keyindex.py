"""Numbers for keys of several integers, and the number of any key: a hash table that takes whole columns at once.

It is here since a join copies every column of the flows and this copies none. The invariant: keys have the same number
where, and only where, they are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Column = NDArray[Any]

_MULTIPLIERS: Final = tuple(
    np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)
)
_SPARSENESS: Final = 4
"""Slots of the table to a key, at least: most look-ups end at the first slot."""
_BLOCK: Final = 1 << 14
"""Rows that are looked up at once: what is made on the way stays in the processor's cache, in memory that is there."""


class KeyIndex:
    """The distinct keys among rows, numbered from 0 in the order in which they first appear.

    A key is one to four unsigned 64-bit integers; `columns` hold the parts of all keys, of equal length.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        rows = len(columns[0])
        bits = max(4, (_SPARSENESS * rows).bit_length())
        self._shift = np.uint64(64 - bits)
        self._mask = (1 << bits) - 1
        self._slots = np.full(1 << bits, -1, np.int32)
        self.keys = [np.ascontiguousarray(column, np.uint64) for column in columns]
        self._constant = [(part, key[0]) for part, key in enumerate(self.keys) if rows and (key == key[0]).all()]
        """Parts in which all keys are alike: the upper half of an address in a cluster of IPv4 alone."""
        self._varying = [part for part in range(len(columns)) if part not in dict(self._constant)] or [0]
        self.numbers: NDArray[np.int32] = self._insert(rows)
        """By row, the number of its key."""

    def __len__(self) -> int:
        return len(self.keys[0])

    def find(self, columns: Sequence[Column]) -> NDArray[np.int32]:
        """The number of the key in each row of the columns; -1 where there is no such key."""
        rows = len(columns[0])
        if len(self) and rows <= _BLOCK:
            return self._found(columns)
        found = np.full(rows, -1, np.int32)
        if len(self):
            for first in range(0, rows, _BLOCK):
                block = slice(first, first + _BLOCK)
                found[block] = self._found([column[block] for column in columns])
        return found

    def _found(self, columns: Sequence[Column]) -> NDArray[np.int32]:
        at = self._hash([columns[part] for part in self._varying])
        found: NDArray[np.int32] = self._slots.take(at)
        pending = np.flatnonzero(self._differ(found, columns) & (found >= 0))
        while pending.size:
            at[pending] = beyond = (at.take(pending) + 1) & self._mask
            found[pending] = next_found = self._slots.take(beyond)
            is_wrong = (next_found >= 0) & self._differ(next_found, [column.take(pending) for column in columns])
            pending = pending[is_wrong]
        for part, constant in self._constant:
            is_other = columns[part] != constant
            if is_other.any():
                found[is_other] = -1
        return found

    def _insert(self, rows: int) -> NDArray[np.int32]:
        """Fill the table with the first row of each key, then number these."""
        first = np.empty(rows, np.int32)
        pending = np.arange(rows, dtype=np.int32)
        at = self._hash([self.keys[part] for part in self._varying])
        while pending.size:
            here = at[pending]
            is_free = self._slots[here] < 0
            self._slots[here[is_free][::-1]] = pending[is_free][::-1]  # of several writes the last one stays
            first[pending] = holder = self._slots[here]
            pending = pending[self._differ(holder, [key[pending] for key in self.keys])]
            at[pending] = (at[pending] + 1) & self._mask
        is_first = first == np.arange(rows)
        number = (np.cumsum(is_first) - 1).astype(np.int32)
        taken = self._slots >= 0
        self._slots[taken] = number[self._slots[taken]]
        self.keys = [key[is_first] for key in self.keys]
        return number[first]

    def _hash(self, columns: Sequence[Column]) -> NDArray[np.int64]:
        return _hashed(columns, _MULTIPLIERS, self._shift)

    def _differ(self, numbers: NDArray[np.int32], columns: Sequence[Column]) -> NDArray[np.bool_]:
        """Whether a varying part does."""
        first, *others = self._varying
        differs: NDArray[np.bool_] = self.keys[first].take(numbers) != columns[first]
        for part in others:
            differs |= self.keys[part].take(numbers) != columns[part]
        return differs


def distinct(columns: Sequence[Column]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """By row the number of its key (unsigned 64-bit parts) in the order of first appearance, and by number the first
    row that has it."""
    size = int(columns[0].max(initial=0)) + 1
    if len(columns) == 1 and size <= len(columns[0]):
        return _ranked(columns[0].astype(np.int64), size)
    first = _first_alike(columns)
    is_first = first == np.arange(len(first))
    number = np.cumsum(is_first) - 1
    return number.take(first), np.flatnonzero(is_first)


def _first_alike(columns: Sequence[Column], turn: int = 0) -> NDArray[np.int32]:
    """By row the first row that has the same key.

    Rows leave their number at the slot of their key, the first one last. Those that find there a row with another key
    take the next turn with another hash; what is left after a few was made to collide.
    """
    rows = len(columns[0])
    if turn == len(_MULTIPLIERS):
        return _first_encoded(columns)
    multipliers = [*_MULTIPLIERS[turn:], *_MULTIPLIERS[:turn]]
    at = _hashed(columns, multipliers, np.uint64(64 - max(4, rows.bit_length())))
    slots = np.empty(1 << max(4, rows.bit_length()), np.int32)  # nobody reads a slot that no row has written
    slots[at[::-1]] = np.arange(rows, dtype=np.int32)[::-1]  # of several writes the last one stays
    first = slots.take(at)
    differs = np.zeros(rows, np.bool_)
    for column in columns:
        differs |= column.take(first) != column
    others = np.flatnonzero(differs)
    if others.size:
        first[others] = others.take(_first_alike([column.take(others) for column in columns], turn + 1))
    return first


def _hashed(columns: Sequence[Column], multipliers: Sequence[np.uint64], shift: np.uint64) -> NDArray[np.int64]:
    """Numbers of 64 bits less `shift`, alike where keys are."""
    mixed = columns[0].astype(np.uint64, copy=False) * multipliers[0]
    for column, multiplier in zip(columns[1:], multipliers[1:], strict=False):
        mixed ^= column.astype(np.uint64, copy=False)
        mixed *= multiplier
    mixed >>= shift
    return mixed.view(np.int64)


def _first_encoded(columns: Sequence[Column]) -> NDArray[np.int32]:
    """`_first_alike`, for keys with any hash."""
    numbers = _encoded(columns[0])
    for column in columns[1:]:
        part = _encoded(column)
        numbers = _encoded(numbers * (part.max(initial=0) + 1) + part)
    rows = np.empty(numbers.max(initial=-1) + 1, np.int32)
    rows[numbers[::-1]] = np.arange(len(numbers), dtype=np.int32)[::-1]
    return rows.take(numbers)


def _ranked(values: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`distinct` of values that are all below `size`: a place for each takes a third of the time of a hash table."""
    first = np.full(size, -1, np.int64)
    first[values[::-1]] = np.arange(len(values))[::-1]  # of several writes the last one stays
    there = np.flatnonzero(first >= 0)
    in_order = there[np.argsort(first[there])]
    rank = np.empty(size, np.int64)
    rank[in_order] = np.arange(len(in_order))
    return rank.take(values), first[in_order]


def _encoded(column: Column) -> NDArray[np.int64]:
    """By row the number of its value, in the order of first appearance."""
    numbers: NDArray[np.int64] = pa.array(column).dictionary_encode().indices.to_numpy().astype(np.int64)
    return numbers


class GrowingIndex:
    """The same for keys that come a few at a time: what was given a number keeps it.

    It is a short row of tables, each at least twice as large as the next, so that whatever is added costs its own size
    and hardly ever that of what is there.
    """

    def __init__(self) -> None:
        self._tables: list[KeyIndex] = []

    def __len__(self) -> int:
        return sum(map(len, self._tables))

    def numbers(self, columns: Sequence[Column]) -> NDArray[np.int32]:
        """The number of the key (unsigned 64-bit parts) in each row; new keys get the next ones, in any order."""
        if not self._tables:
            self._tables.append(KeyIndex([np.zeros(0, np.uint64)] * len(columns)))
        found = self._tables[0].find(columns)
        missing = np.flatnonzero(found < 0)
        first = len(self._tables[0])
        for table in self._tables[1:]:
            if not missing.size:
                break
            places = table.find([column[missing] for column in columns])
            is_here = places >= 0
            found[missing[is_here]] = places[is_here] + first
            missing = missing[~is_here]
            first += len(table)
        if missing.size:
            numbers, rows = distinct([column[missing] for column in columns])
            found[missing] = numbers + first
            self._add([column[missing[rows]] for column in columns])
        return found

    def _add(self, keys: Sequence[Column]) -> None:
        """Add a table of new keys, and join what has become too small to be a table of its own."""
        tables = [table.keys for table in self._tables] + [list(keys)]
        kept = len(self._tables)
        while len(tables) > 1 and 2 * len(tables[-1][0]) > len(tables[-2][0]):
            late, early = tables.pop(), tables.pop()
            tables.append([np.concatenate(pair) for pair in zip(early, late, strict=True)])
            kept -= 1
        self._tables = [*self._tables[:kept], KeyIndex(tables[-1])]
