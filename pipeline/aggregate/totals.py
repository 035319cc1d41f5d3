"""Cumulative totals of one metric family: exact integers by label set, which only grow.

Deltas come by ids (rows of a snapshot's frames), since ids are cheap to number and names are not: sums are kept by ids
until somebody asks for series, and only then are ids that are new given their label text. The invariant: a label set
keeps its row, and its totals never fall.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..attribution import arrays
from ..attribution.keyindex import GrowingIndex
from ..kept import Frames
from .budget import Limit, fitted
from .idwords import Columns, IdWords
from .quota import counted
from .remembered import Remembered

Name = Callable[[pl.DataFrame], pl.DataFrame]
"""Turns rows of ids into rows of label text, in the same order."""

_SERIES: Final = "series"
_WEIGHT: Final = "__weight"
_GIVEN: Final = "__given "
_MOST: Final = np.uint64(2**64 - 1)
"""Where a total stays that nonsense on the wire would drive beyond 64 bits."""
_HALF: Final = 2.0**63
"""What wrapped is less than it should be by a multiple of twice this."""

_Sums = NDArray[np.uint64]


class Totals:
    """Totals of `measures` by `labels`. Row i of `labels` belongs to element i of each measure."""

    def __init__(self, ids: tuple[str, ...], labels: tuple[str, ...], measures: tuple[str, ...]) -> None:
        self._ids = list(ids)
        self._labels = pl.DataFrame(schema=dict.fromkeys(labels, pl.String))
        self._values: dict[str, _Sums] = {name: np.zeros(0, np.uint64) for name in measures}
        self._grew_at = np.zeros(0, np.int64)
        self._gone = pl.DataFrame(schema=dict.fromkeys(measures, pl.Float64))
        """What the series had that went; a row, once any did."""
        self.limit: Limit | None = None
        """What label sets that are new have to fit into."""
        self.folded = 0
        """Label sets that were counted under another when they were named, since the start, each once."""
        self._folded_sets = Remembered()
        self._folded_of: Counter[str] = Counter()
        """The same by namespace, since somebody took it."""
        self._forget()

    def __len__(self) -> int:
        return self.labels.height

    @property
    def named(self) -> pl.DataFrame:
        """The label sets without those that have no name yet."""
        return self._labels

    @property
    def settled(self) -> int:
        """How many these are."""
        return self._labels.height

    @property
    def unnamed(self) -> int:
        """How many may come to them at most when `labels` are asked for next."""
        return len(self._index) - len(self._series)

    @property
    def width(self) -> int:
        """How many series a label set makes at most."""
        return len(self._values)

    @property
    def labels(self) -> pl.DataFrame:
        """Replaced when series are added, and otherwise the same object, which readers may take as a sign."""
        self._settle()
        return self._labels

    def measure(self, name: str) -> pl.Series:
        """The totals of one measure as they are now; later additions do not change them."""
        self._settle()
        return pl.Series(name, self._values[name], dtype=pl.UInt64)

    def ever(self, name: str) -> float:
        """What a measure has come to over all label sets since the beginning, those that went among them."""
        return float(self.measure(name).cast(pl.Float64).sum()) + sum(self._gone[name])

    def take_folded(self) -> Mapping[str, int]:
        """By namespace the label sets that were counted under another since this was last asked."""
        taken, self._folded_of = self._folded_of, Counter()
        return taken

    def expire(self, now_ns: int, idle_ns: int) -> int:
        """Drop the series that have not grown for `idle_ns`, as far as calls of this tell; returns how many.

        One that grows again begins at 0. What was folded for want of room is let in by what is gone.
        """
        self._settle()
        self._grew_at[self._grew_at < 0] = now_ns
        return self.drop(self._grew_at <= now_ns - idle_ns)

    def drop(self, is_gone: NDArray[np.bool_]) -> int:
        """Drop these of the named series, as `expire` does; returns how many."""
        gone = int(is_gone.sum())
        if gone:
            went = {name: values[is_gone].sum(dtype=np.float64) for name, values in self._values.items()}
            self._gone = pl.DataFrame({name: [sum(self._gone[name]) + value] for name, value in went.items()})
            self._labels = self._labels.filter(pl.Series(~is_gone))
            self._values = {measure: values[~is_gone] for measure, values in self._values.items()}
            self._grew_at = self._grew_at[~is_gone]
            self._forget()
        return gone

    def forget_ids(self) -> None:
        """Ids mean something else from now on. What `name` functions name by must still be what it was."""
        self._settle()
        self._forget()

    def add(self, deltas: pl.DataFrame, name: Name) -> None:
        """Add rows of ids and measures (UInt64), best one row a combination of ids; `name` as for `slots`."""
        if deltas.height:
            self.add_at(self.slots(deltas, name), {measure: deltas[measure].to_numpy() for measure in self._sums})

    def count(self, rows: Columns, measures: Mapping[str, _Sums], name: Name) -> None:
        """Add rows of ids, of which any may be the same, and to each measure what it has in them; `name` as for
        `slots`."""
        if len(rows[self._ids[0]]):
            self.add_at(self.slots(rows, name), measures)

    def slots(self, rows: Columns, name: Name) -> NDArray[np.int32]:
        """By row of ids the number under which it is counted until `forget_ids`; numbers count from 0.

        Ids that were not met before are named by `name` when series are next asked for, so it must go on naming them
        alike until `forget_ids`.
        """
        slots = self._index.numbers(self._words.of(rows))
        self._grow(rows, slots, name)
        return slots

    def add_at(self, slots: NDArray[np.int32], measures: Mapping[str, _Sums]) -> None:
        """Add to each measure what it has at slots."""
        for measure, sums in self._sums.items():
            values = measures[measure]
            if values.any():  # few connections fail
                before = sums[slots]
                np.add.at(sums, slots, values)
                sums[slots[sums[slots] < before]] = _MOST
        self._is_settled = False

    def state(self) -> Frames:
        """The series and their totals, and what those had that went."""
        self._settle()
        went = {"gone": self._gone} if self._gone.height else {}
        return {"labels": self._labels, "values": pl.DataFrame(self._values), **went}

    def restore(self, frames: Frames) -> int:
        """Take up series. Where their labels are not the ones of today, those that agree in what is left of them are
        one, and a label that they lack is empty: the sum stays what it was."""
        names, measures = self._labels.columns, list(self._values)
        series = pl.concat([frames["labels"], frames["values"]], how="horizontal")
        misfits = 0
        if frames["labels"].columns != names or frames["values"].columns != measures:
            misfits = series.height
            lacking = [pl.lit("").alias(name) for name in names if name not in series.columns]
            zeros = [pl.lit(0, pl.UInt64).alias(name) for name in measures if name not in series.columns]
            series = (
                series.with_columns(*lacking, *zeros).group_by(names, maintain_order=True).agg(pl.col(measures).sum())
            )
        self._labels = series.select(names)
        self._values = {measure: series[measure].to_numpy() for measure in measures}
        self._grew_at = np.full(self._labels.height, -1)
        if "gone" in frames and frames["gone"].schema == self._gone.schema:
            self._gone = frames["gone"]
        self._forget()
        return misfits

    def _forget(self) -> None:
        self._index = GrowingIndex()
        self._words = IdWords(self._ids)
        self._series = np.zeros(0, np.int64)
        """By slot, a number of the index: its series. Slots that are not named yet are at the end and not here."""
        self._unnamed: list[tuple[Name, pl.DataFrame]] = []
        self._sums: dict[str, _Sums] = {name: np.zeros(0, np.uint64) for name in self._values}
        """By slot, with room for more: what came since the last `_settle`."""
        self._is_settled = True

    def _grow(self, rows: Columns, slots: NDArray[np.int32], name: Name) -> None:
        """Make room for new slots, and keep their ids until they are named."""
        known = len(self._series) + sum(ids.height for _, ids in self._unnamed)
        if len(self._index) == known:
            return
        new = np.flatnonzero(slots >= known)
        order, first = np.unique(slots[new], return_index=True)
        assert len(order) == len(self._index) - known  # noqa: S101 - slots are numbered without a gap
        self._unnamed.append((name, arrays.taken(rows, new[first], *self._ids)))
        room = len(next(iter(self._sums.values())))
        if len(self._index) > room:
            more = np.zeros(2 * len(self._index) - room, np.uint64)
            self._sums = {measure: np.concatenate([sums, more]) for measure, sums in self._sums.items()}

    def _settle(self) -> None:
        """Name what is new, and bring what came since the last time to the series."""
        if self._is_settled:
            return
        for name, ids in _joined(self._unnamed):
            weights = next(iter(self._sums.values()))[len(self._series) :][: ids.height]
            series = self._register(name(ids), weights).to_numpy().astype(np.int64)
            self._series = np.concatenate([self._series, series])
        self._unnamed = []
        size = len(self._series)
        # Arrays are replaced, never changed in place: what `measure` gave out stays what it was.
        for measure, before in self._values.items():
            sums = self._sums[measure]
            added = np.zeros(len(before), np.uint64)
            np.add.at(added, self._series, sums[:size])
            roughly = np.bincount(self._series, sums[:size], len(before)) + before
            total = before + added
            self._values[measure] = np.where(roughly - total > _HALF, _MOST, total)
            self._grew_at[added > 0] = -1  # since the last `expire`
            sums[:size] = 0
        self._is_settled = True

    def _register(self, labelled: pl.DataFrame, weights: _Sums) -> pl.Series:
        """The series of rows of label text; those of new label sets are appended, in the order of their text."""
        names = self._labels.columns
        weighed = labelled.select(names).with_columns(pl.Series(_WEIGHT, weights).cast(pl.Float64))
        distinct = weighed.group_by(names).agg(pl.col(_WEIGHT).sum())
        new = distinct.join(self._labels, on=names, how="anti").sort(names)
        if new.height and self.limit is not None:
            labelled, new = self._fitted(labelled, new, self.limit)
        if new.height:
            self._labels = pl.concat([self._labels, new.select(names)], rechunk=True)
            grown = np.zeros(new.height, np.uint64)
            self._values = {measure: np.concatenate([values, grown]) for measure, values in self._values.items()}
            self._grew_at = np.concatenate([self._grew_at, np.full(new.height, -1)])
        index = self._labels.with_row_index(_SERIES)
        return labelled.join(index, on=names, how="left", maintain_order="left")[_SERIES]

    def _fitted(self, labelled: pl.DataFrame, new: pl.DataFrame, limit: Limit) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Rows under the label sets that they are counted under, and which of these are new; `new` has weights."""
        names = self._labels.columns
        wanted = new.select(names)
        given = fitted(self._labels, wanted, new[_WEIGHT], limit)
        if given.equals(wanted):
            return labelled, new
        changed = pl.concat([wanted, given.rename({name: _GIVEN + name for name in names})], how="horizontal")
        changed = changed.filter(pl.any_horizontal(pl.col(name) != pl.col(_GIVEN + name) for name in names))
        folded = self._folded_sets.new(changed.select(names))
        self.folded += folded.height
        self._folded_of.update(counted(folded))
        renamed = labelled.join(changed, on=names, how="left", maintain_order="left").select(
            pl.coalesce(_GIVEN + name, name).alias(name) for name in names
        )
        return renamed, given.unique().join(self._labels, on=names, how="anti").sort(names)


def _joined(unnamed: list[tuple[Name, pl.DataFrame]]) -> list[tuple[Name, pl.DataFrame]]:
    """Neighbours that are named alike as one."""
    joined: list[tuple[Name, list[pl.DataFrame]]] = []
    for name, ids in unnamed:
        if joined and joined[-1][0] == name:
            joined[-1][1].append(ids)
        else:
            joined.append((name, [ids]))
    return [(name, pl.concat(frames)) for name, frames in joined]
