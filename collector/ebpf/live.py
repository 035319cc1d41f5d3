"""The columns in which live connections are kept: slots to read and write together, and which slot a key has. Pure.

The invariant: a slot is free or has one key. What is noted and released takes effect at `settle`: within one look at
the kernel each key is looked up once, before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Columns = dict[str, npt.NDArray[Any]]
Rows = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]

NEVER: Final = np.iinfo(np.int64).max
_SLOTS: Final = 1 << 18
"""Room at first. A slot takes no memory until it is used, and those that are used are the first ones."""


class Live:
    """Columns of the given names and dtypes, and `due`: when to look at a slot although nothing came; NEVER if free."""

    def __init__(self, dtypes: Mapping[str, str]) -> None:
        self._dtypes = dtypes
        self._columns: Columns = {name: np.empty(_SLOTS, kind) for name, kind in dtypes.items()}
        self.due: Rows = np.full(_SLOTS, NEVER, np.int64)
        self._free: Rows = np.arange(_SLOTS)
        self._keys: Keys = np.empty(0, np.uint64)  # sorted
        self._slots: Rows = np.empty(0, np.int64)  # of each key
        self._noted: list[tuple[Keys, Rows]] = []
        self._released: list[Rows] = []
        self._touched: list[Rows] | None = None

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, keys: Keys) -> tuple[Rows, Flags]:
        """Where each key is or would be among the sorted keys, and whether it is there."""
        place = np.searchsorted(self._keys, keys)
        if not len(self._keys):
            return place, np.zeros(len(keys), np.bool_)
        return place, self._keys[np.minimum(place, len(self._keys) - 1)] == keys

    def slots(self, keys: Keys) -> Rows:
        """The slot of each key, -1 where there is none."""
        place, found = self.find(keys)
        if not found.any():
            return np.full(len(keys), -1, np.int64)
        return np.where(found, self._slots[np.minimum(place, len(self._slots) - 1)], -1)

    def reserve(self, count: int) -> None:
        """Make room for as many as will be taken."""
        if count <= len(self._free):
            return
        size = len(self.due)
        more = max(size // 2, count - len(self._free))
        for name, column in self._columns.items():
            self._columns[name] = np.empty(size + more, column.dtype)
            self._columns[name][:size] = column
        due = np.full(size + more, NEVER, np.int64)
        due[:size], self.due = self.due, due
        self._free = np.concatenate([self._free, np.arange(size, size + more)])

    def take(self, count: int) -> Rows:
        """Free slots, no longer so."""
        self.reserve(count)
        slots, self._free = self._free[:count], self._free[count:]
        return slots

    def note(self, keys: Keys, slots: Rows) -> None:
        """From `settle` on these keys, of which none is known and none noted before, have these slots."""
        self._noted.append((keys, slots))

    def release(self, slots: Rows) -> None:
        """From `settle` on these slots are free."""
        self._released.append(slots)

    def settle(self) -> None:
        """Let what was noted and released take effect."""
        if self._noted:
            keys = np.concatenate([keys for keys, _ in self._noted])
            slots = np.concatenate([slots for _, slots in self._noted])
            order = np.argsort(keys, kind="stable")  # nearly free for the ascending runs that a look notes
            keys, slots = keys[order], slots[order]
            place = np.searchsorted(self._keys, keys)
            self._keys = np.insert(self._keys, place, keys)
            self._slots = np.insert(self._slots, place, slots)
            self._noted = []
        if self._released:
            slots = np.concatenate(self._released)
            self._released = []
            if self._touched is not None:
                self._touched.append(slots)
            self.due[slots] = NEVER
            is_kept = np.ones(len(self.due), np.bool_)
            is_kept[slots] = False
            is_kept = is_kept[self._slots]
            self._keys, self._slots = self._keys[is_kept], self._slots[is_kept]
            self._free = np.concatenate([slots, self._free])

    def blank(self, count: int) -> Columns:
        """Columns for as many slots, all 0."""
        return {name: np.zeros(count, kind) for name, kind in self._dtypes.items()}

    def get(self, slots: Rows, names: Iterable[str] | None = None) -> Columns:
        """A copy of these slots' columns, of all or of those named."""
        return {name: self._columns[name][slots] for name in names or self._columns}

    def put(self, slots: Rows, columns: Columns) -> None:
        """Write these slots' columns."""
        if self._touched is not None:
            self._touched.append(slots)
        for name, column in self._columns.items():
            column[slots] = columns[name]

    def watch(self) -> None:
        """From now on remember which slots were written, for `changed`."""
        self._touched = []

    def changed(self, *, everything: bool) -> Columns:
        """The slots written since the last call, or all in use, as `slot`; of those `used`, `due` and all columns."""
        written, self._touched = self._touched or [], []
        slots = np.sort(self._slots) if everything else np.unique(np.concatenate([np.empty(0, np.int64), *written]))
        is_used = np.zeros(len(self.due), np.bool_)
        is_used[self._slots] = True
        used = is_used[slots]
        slots = np.concatenate([slots[used], slots[~used]])
        kept = slots[: int(used.sum())]
        return {"slot": slots, "used": kept, "due": self.due[kept], **self.get(kept)}

    def restore(self, changes: Iterable[Mapping[str, npt.NDArray[Any]]]) -> None:
        """Be as another was, by all that it told in `changed`, in order, the first time everything."""
        used = np.empty(0, np.int64)
        for part in changes:
            slots = part["used"]
            if len(part["slot"]) and (most := int(part["slot"].max()) + 1) > len(self.due):
                self.reserve(len(self._free) + most - len(self.due))
            used = np.union1d(np.setdiff1d(used, part["slot"]), slots)
            for name, column in self._columns.items():
                column[slots] = part[name]
            self.due[part["slot"]] = NEVER
            self.due[slots] = part["due"]
        order = np.argsort(self._columns["key"][used])
        self._slots = used[order]
        self._keys = self._columns["key"][self._slots]
        is_free = np.ones(len(self.due), np.bool_)
        is_free[used] = False
        self._free = np.flatnonzero(is_free)
