"""Stages and a history that do nothing with a flow but remember that it came, so that what settles it is left.

They keep to what `Engine`, `Settling` and `Snapshots` ask of the real ones. The invariant: a flow is remembered as
often as it was applied, and never looked at.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import polars as pl

from pipeline.decode import Rows
from pipeline.errors import PermanentError, TransientError
from pipeline.kept import Frames
from pipeline.outputs.meters import Meters


class Flows:
    """Flows by their identities."""

    def __init__(self) -> None:
        self.ids: list[int] = []

    def state(self) -> Frames:
        return {"ids": pl.DataFrame({"id": self.ids}, schema={"id": pl.UInt64})}

    def restore(self, frames: Frames) -> int:
        self.ids = frames["ids"]["id"].to_list() if "ids" in frames else []
        return 0


@dataclass
class Settle:
    """What a writer has committed as one."""

    app: str
    version: int
    ids: list[int]
    places: Mapping[str, Any]


@dataclass
class Table:
    """The history that outlives its writers."""

    settles: list[Settle] = field(default_factory=list)
    fences: dict[str, int] = field(default_factory=dict)

    def copy(self) -> Table:
        return Table(self.settles[:], dict(self.fences))

    def last(self, app: str) -> Settle | None:
        return next((one for one in reversed(self.settles) if one.app == app), None)

    def ids(self) -> list[int]:
        return [one for settle in self.settles for one in settle.ids]


class History(Flows):
    """A writer of the table, as `Lake` is."""

    codes = None

    def __init__(self, table: Table, app: str, point: Callable[[], None]) -> None:
        super().__init__()
        self.app = app
        self._table = table
        self._point = point
        self._fence = 0
        self._doubt: tuple[int, int] | None = None

    @property
    def held_rows(self) -> int:
        return len(self.ids)

    def start(self) -> None:
        self._fence = self._table.fences[self.app] = self._table.fences.get(self.app, 0) + 1

    def committed(self, app: str | None = None) -> int | None:
        last = self._table.last(app or self.app)
        return last.version if last else None

    def places(self) -> Mapping[str, Any] | None:
        last = self._table.last(self.app)
        return last.places if last else None

    def add(self, ids: list[int]) -> None:
        self.ids += ids

    def commit(self, version: int, offsets: Mapping[str, Any] | None = None) -> None:
        last = self.committed()
        if last is not None and version <= last:
            raise PermanentError(f"lake: {self.app} has committed {last} already, and {version} is not beyond it")
        self._is_through()
        if self._table.fences.get(self.app, self._fence) != self._fence:
            raise PermanentError("lake: another process has taken over")
        try:
            self._point()
            self._doubt = version, len(self.ids)
            self._table.settles.append(Settle(self.app, version, self.ids, dict(offsets or {})))
            self._point()
        except OSError as error:
            raise TransientError(f"lake: {error}") from error
        self.ids, self._doubt = [], None

    def _is_through(self) -> None:
        if self._doubt is not None:
            version, count = self._doubt
            if self.committed() == version:
                self.ids = self.ids[count:]
            self._doubt = None


class Told(SimpleNamespace):
    """What `Stages.refresh` tells of the cluster."""


class Tally:
    """Stages that count flows by identity, after letting some of them wait."""

    def __init__(self, config: Any, state: Any, meters: Meters, lake: History | None = None, *_: Any) -> None:
        self.meters = meters
        self.missing: Mapping[str, int] = {}
        self.counted, self.waiting = Flows(), Flows()
        self.expired = 0
        self.lake = lake
        self._chance: random.Random = state

    @property
    def held_rows(self) -> int:
        return len(self.waiting.ids)

    def kept(self) -> Mapping[str, Flows]:
        return {
            "counted": self.counted,
            "waiting": self.waiting,
            **({"lake": self.lake} if self.lake is not None else {}),
        }

    def samples(self) -> list[Any]:
        """The flows that are counted, in place of metrics."""
        return [SimpleNamespace(series=0, ids=self.counted.ids + self.waiting.ids)]

    def keep_nodes(self, nodes: Collection[str]) -> None:
        """Nothing is shown of nodes."""

    def tell(self, *, is_last: bool = False) -> None:
        """Nothing is logged."""

    def learn(self, batches: Sequence[Rows]) -> None:
        """Nothing has a name."""

    def refresh(self, meters: Meters | None = None) -> Told:
        return Told(is_synced=True)

    def apply(self, batches: Sequence[Rows]) -> None:
        for rows in batches:
            nodes, sizes = [name.node for name in rows.names], [name.rows for name in rows.names]
            self.meters.applied(rows.table, nodes, sizes, [0] * len(nodes))
            self.waiting.ids = self.waiting.ids + rows.frame["flow_id"].to_list()
        if self._chance.random() < 0.7:
            self.release(0.0)

    def release(self, now_s: float) -> None:
        if self.waiting.ids and self._chance.random() < 0.7:
            with self.meters.stage("aggregate"):  # by which alone a snapshot may tell that something has changed
                ids, self.waiting.ids = self.waiting.ids, []
                self.counted.ids = self.counted.ids + ids
                if self.lake is not None:
                    self.lake.add(ids)
