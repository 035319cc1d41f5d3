"""The budget of series over all families of metrics: who may have how many, and which go for being idle.

`enforce` before the samples are asked for: label sets get their names, and so a series each or a place in `other`, when
somebody asks. The invariant: once enforced, totals make no more than the budget's series in all, and no family more
than its limit of label sets; but each has one label set where there is anything to count, for `other`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import polars as pl

from ..catalog import BY_NAME
from ..kept import Frames, Kept, fits, rows_of
from .budget import Limit
from .histogram import Histogram
from .samples import Samples, samples_of
from .totals import Totals

_COUNTS: Final = pl.Schema({"family": pl.String(), "count": pl.Int64()})
LOOK_EVERY: Final = 20
"""Idle series are looked for so many times within the time after which they go."""


class SeriesBudget:
    """At most `most` series, and label sets a family as `limit` says; those that do not grow for `idle_s` go.

    With `idle_s` 0 none goes.
    """

    def __init__(self, most: int, limit: Limit, idle_s: float) -> None:
        self._most, self._limit, self._idle_ns = most, limit, int(idle_s * 1e9)
        self._looked_ns = 0
        self._families: dict[str, tuple[Totals, int]] = {}
        self.expired = 0
        """Label sets that went for being idle."""
        self._folded_before: dict[str, int] = {}

    def enforce(self, parts: Mapping[str, Kept], now_ns: int) -> None:
        """Name what is new in all totals among `parts`, within the budget."""
        self._families = {name: (totals, width) for name, totals, width in _totals_of(parts)}
        # one label set of each is kept free for `other`, which is made where there is no room too
        left = self._most - sum((totals.settled + 1) * width for totals, width in self._families.values())
        for totals, width in self._families.values():
            before = totals.settled
            room = before + max(0, left) // width
            totals.limit = Limit(min(self._limit.most, room), self._limit.folds)
            left -= (len(totals) - before) * width
        if self._idle_ns and now_ns - self._looked_ns >= self._idle_ns // LOOK_EVERY:
            # after what is new has its names: to look for the idle names everything, limit or not
            self._looked_ns = now_ns
            self.expired += sum(totals.expire(now_ns, self._idle_ns) for totals, _ in self._families.values())

    def samples(self) -> list[Samples]:
        """What was folded, and what went."""
        folded: dict[tuple[str, ...], int] = {(name,): count for name, count in self._folded().items() if count}
        return [
            samples_of(BY_NAME["flowatlas_series_folded_total"], folded),
            samples_of(BY_NAME["flowatlas_series_expired_total"], {(): self.expired}),
        ]

    def state(self) -> Frames:
        """What was folded by family, and under no name what went."""
        counts = {**self._folded(), "": self.expired}
        return {"counts": pl.DataFrame({"family": list(counts), "count": list(counts.values())}, schema=_COUNTS)}

    def restore(self, frames: Frames) -> int:
        """Take up the counts."""
        if not fits(frames, counts=_COUNTS):
            return rows_of(frames)
        self._folded_before = dict(frames["counts"].iter_rows())
        self.expired = self._folded_before.pop("", 0)
        return 0

    def _folded(self) -> dict[str, int]:
        now = {name: totals.folded for name, (totals, _) in self._families.items()}
        before = self._folded_before
        return {name: now.get(name, 0) + before.get(name, 0) for name in {**before, **now}}


def _totals_of(parts: Mapping[str, Kept]) -> Iterator[tuple[str, Totals, int]]:
    """Name, totals, and how many series a label set of theirs makes at most."""
    for name, part in parts.items():
        if isinstance(part, Totals):
            yield name, part, part.width
        elif isinstance(part, Histogram):
            yield name, part.totals, part.totals.width + 1  # the count is the last bucket's again
