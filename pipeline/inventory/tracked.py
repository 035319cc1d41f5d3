"""Frames of slow-changing facts that follow from objects of a few kinds taken together, such as routes: the seam.

Whoever adds a frame writes one pure function, from the current objects of some kinds to rows, and registers it as a
`TrackedFrame` in `snapshot.TRACKED`; the snapshot of a dump and the history of a watched cluster do the rest. The
invariant: a row's number in its frame keeps its meaning while the snapshot's `numbering` is the same object, and a row
that comes back after it was gone is a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from .models import Resource
from .spans import BEGINNING, END, SPAN

Row = tuple[Hashable, ...]


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """One frame and how to compute it.

    `facts` gets the current objects of `kinds` (model classes), in no order, and gives rows with the columns of
    `columns` in their order; it knows no clock and keeps nothing. Rows that are alike are one row. It is called again
    when an object of these kinds has changed, so kinds that change many times a second (Pod, EndpointSlice) do not
    belong here. In a snapshot the frame is `snapshot.tracked[name]`, with the columns `since` and `until` added and,
    where `id_column` is given, the row number (UInt32) as the first column.
    """

    name: str
    columns: pl.Schema
    kinds: tuple[type[Resource], ...]
    facts: Callable[[Sequence[Resource]], Iterable[Row]]
    id_column: str = ""

    @property
    def schema(self) -> pl.Schema:
        """The frame's columns."""
        number = {self.id_column: pl.UInt32()} if self.id_column else {}
        return pl.Schema({**number, **self.columns, **SPAN})

    def frame(self, objects: Iterable[Resource]) -> pl.DataFrame:
        """The frame of a dump: every row holds always."""
        track = Track(self)
        track.update(objects, BEGINNING)
        return track.frame()


class Track:
    """The rows of one tracked frame over time."""

    def __init__(self, tracked: TrackedFrame) -> None:
        self._tracked = tracked
        self._rows: list[Row] = []
        self._spans: list[tuple[int, int]] = []
        self._open: dict[Row, int] = {}
        self._frame: pl.DataFrame | None = None

    def update(self, objects: Iterable[Resource], time_ns: int) -> None:
        """Compute the facts of these objects; what is new holds from `time_ns` on, what is missing until then."""
        facts = dict.fromkeys(self._tracked.facts([item for item in objects if isinstance(item, self._tracked.kinds)]))
        for row in [row for row in self._open if row not in facts]:
            number = self._open.pop(row)
            self._spans[number] = (self._spans[number][0], time_ns)
            self._frame = None
        for row in facts:
            if row not in self._open:
                self._open[row] = len(self._rows)
                self._rows.append(row)
                self._spans.append((time_ns, END))
                self._frame = None

    def forget(self, before_ns: int) -> bool:
        """Drop what ended before an instant; whether row numbers have changed."""
        kept = [number for number, (_, until) in enumerate(self._spans) if until > before_ns]
        if len(kept) == len(self._rows):
            return False
        self._rows = [self._rows[number] for number in kept]
        self._spans = [self._spans[number] for number in kept]
        self._open = {self._rows[i]: i for i, (_, until) in enumerate(self._spans) if until == END}
        self._frame = None
        return True

    @property
    def closed(self) -> int:
        """How many rows hold no more."""
        return len(self._rows) - len(self._open)

    def frame(self) -> pl.DataFrame:
        """The rows as they are now; the same object while nothing changed."""
        if self._frame is None:
            tracked = self._tracked
            rows = [(*row, *span) for row, span in zip(self._rows, self._spans, strict=True)]
            frame = pl.DataFrame(rows, schema={**tracked.columns, **SPAN}, orient="row")
            self._frame = frame.with_row_index(tracked.id_column) if tracked.id_column else frame
        return self._frame
