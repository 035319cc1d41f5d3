"""The budget of series over all families of metrics: who may have how many, and which go for being idle.

As long as all fit into the share that is not kept for newcomers, nobody is asked what is whose.

`enforce` before the samples are asked for: label sets get their names, and so a series each or a place in `other`, when
somebody asks. The invariant: once enforced, totals make no more than the budget's series in all, and no family more
than its limit of label sets; but each has one label set where there is anything to count, for `other`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

import polars as pl

from ..catalog import BY_NAME
from ..kept import Frames, Kept, fits, rows_of
from .budget import OTHER, Limit
from .histogram import Histogram
from .quota import KEPT_FOR_FOLDED, Quota, counted
from .samples import Samples, samples_of
from .totals import Totals

_COUNTS: Final = pl.Schema({"family": pl.String(), "count": pl.Int64()})
_FOLDED_OF: Final = BY_NAME["flowatlas_series_folded_by_namespace_total"]
_NAMESPACES: Final = pl.Schema({"namespace": pl.String(), "count": pl.Int64()})
MOST_NAMESPACES: Final = 1_000
"""Of so many namespaces it is told by name what was folded."""
LOOK_EVERY: Final = 20
"""Idle series are looked for so many times within the time after which they go."""


class SeriesBudget:
    """At most `most` series, and label sets a family as `limit` says; those that do not grow for `idle_s` go.

    With `idle_s` 0 none goes. Beyond `share` of both, namespaces have quotas; with 1 there are none.
    """

    def __init__(self, most: int, limit: Limit, idle_s: float, share: float = 1.0) -> None:
        self._most, self._limit, self._idle_ns, self._share = most, limit, int(idle_s * 1e9), share
        self._looked_ns = 0
        self._families: dict[str, tuple[Totals, int]] = {}
        self.expired = 0
        """Label sets that went for being idle."""
        self._folded_before: dict[str, int] = {}
        self._folded_of: dict[str, int] = {}
        """Label sets that were folded, by namespace."""
        self._counted: dict[str, tuple[pl.DataFrame, dict[str, int]]] = {}
        """By family its labels and how many are whose, where anybody had to know."""

    def enforce(self, parts: Mapping[str, Kept], now_ns: int) -> None:
        """Name what is new in all totals among `parts`, within the budget."""
        self._families = {name: (totals, width) for name, totals, width in _totals_of(parts)}
        # one label set of each is kept free for `other`, which is made where there is no room too
        left = self._most - sum((totals.settled + 1) * width for totals, width in self._families.values())
        held: dict[str, int] | None = None if self._are_within_share() else self._held()
        for name, (totals, width) in self._families.items():
            before = totals.settled
            most = min(self._limit.most, before + max(0, left) // width)
            known = {} if held is None else self._counts(name)
            quota = None if held is None else Quota(self._share, self._most, held, self._most - left, width)
            totals.limit = replace(self._limit, most=most, quota=quota)
            left -= (len(totals) - before) * width
            if held is not None:
                _add(held, known, -width)
                _add(held, self._counts(name), width)
            self._tell_folded(totals.take_folded())
        if self._idle_ns and now_ns - self._looked_ns >= self._idle_ns // LOOK_EVERY:
            # after what is new has its names: to look for the idle names everything, limit or not
            self._looked_ns = now_ns
            self.expired += sum(totals.expire(now_ns, self._idle_ns) for totals, _ in self._families.values())

    def samples(self) -> list[Samples]:
        """What was folded, by family and by namespace, and what went."""
        folded: dict[tuple[str, ...], int] = {(name,): count for name, count in self._folded().items() if count}
        return [
            samples_of(BY_NAME["flowatlas_series_folded_total"], folded),
            samples_of(BY_NAME["flowatlas_series_expired_total"], {(): self.expired}),
            samples_of(_FOLDED_OF, {(owner,): count for owner, count in self._folded_of.items()}),
        ]

    def state(self) -> Frames:
        """What was folded by family, and under no name what went; what was folded by namespace."""
        counts = {**self._folded(), "": self.expired}
        return {
            "counts": pl.DataFrame({"family": list(counts), "count": list(counts.values())}, schema=_COUNTS),
            "namespaces": pl.DataFrame(list(self._folded_of.items()), schema=_NAMESPACES, orient="row"),
        }

    def restore(self, frames: Frames) -> int:
        """Take up the counts."""
        if not fits(frames, counts=_COUNTS):
            return rows_of(frames)
        self._folded_before = dict(frames["counts"].iter_rows())
        self.expired = self._folded_before.pop("", 0)
        if fits(frames, namespaces=_NAMESPACES):
            self._folded_of = dict(frames["namespaces"].iter_rows())
        return 0

    def _folded(self) -> dict[str, int]:
        now = {name: totals.folded for name, (totals, _) in self._families.items()}
        before = self._folded_before
        return {name: now.get(name, 0) + before.get(name, 0) for name in {**before, **now}}

    def _tell_folded(self, folded: Mapping[str, int]) -> None:
        for owner, count in folded.items():
            name = owner if owner in self._folded_of or len(self._folded_of) < MOST_NAMESPACES else OTHER
            self._folded_of[name] = self._folded_of.get(name, 0) + count

    def _are_within_share(self) -> bool:
        """Whether all that is there and comes is within the share, where nobody has a quota: as good as always."""
        if self._share >= 1:
            return True
        sets = [(totals.settled + totals.unnamed + 1, width) for totals, width in self._families.values()]
        of_all = self._share * (self._most - self._most // KEPT_FOR_FOLDED)
        of_family = self._share * self._limit.detail
        return (
            all(number <= of_family for number, _ in sets) and sum(number * width for number, width in sets) <= of_all
        )

    def _held(self) -> dict[str, int]:
        """The series of each namespace, over all families."""
        held: dict[str, int] = {}
        for name, (_, width) in self._families.items():
            _add(held, self._counts(name), width)
        return held

    def _counts(self, family: str) -> Mapping[str, int]:
        """How many named label sets of a family each namespace has."""
        labels, known = self._families[family][0].named, self._counted.get(family)
        if known is None or known[0] is not labels:
            known = self._counted[family] = labels, counted(labels)
        return known[1]


def _add(held: dict[str, int], counts: Mapping[str, int], width: int) -> None:
    for owner, count in counts.items():
        held[owner] = held.get(owner, 0) + count * width


def _totals_of(parts: Mapping[str, Kept]) -> Iterator[tuple[str, Totals, int]]:
    """Name, totals, and how many series a label set of theirs makes at most."""
    for name, part in parts.items():
        if isinstance(part, Totals):
            yield name, part, part.width
        elif isinstance(part, Histogram):
            yield name, part.totals, part.totals.width + 1  # the count is the last bucket's again
