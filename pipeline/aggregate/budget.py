"""How many series there may be: heavy ones are kept, what is beyond is folded into `other`, and no sum changes. Pure.

A label set that is known stays what it is. New ones are let in while there is room, and with a quota, for what is of
their namespace, the heaviest first; of those that are not, labels are replaced by `other`, the finest first, until
what is left fits. The invariant: label sets never number more than `Limit.most`, and each new one is counted under
exactly one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from ..errors import ConfigError
from .quota import KEPT_FOR_FOLDED, OWNERS, Detail, Grants, Quota, counted, owner_of

OTHER: Final = "other"
LEVELS: Final = {
    "pod": ("endpoint", "pod", "node"),
    "workload": tuple(f"{side}workload{of}" for side in ("", "source_", "destination_") for of in ("", "_kind")),
    "namespace": ("namespace", "source_namespace", "destination_namespace"),
}
"""What can be folded by name, and the labels that go with it."""
CLOSED: Final = frozenset(
    {
        *("protocol", "reason", "verdict", "direction", "via", "affinity", "locality", "mismatch", "coverage", "bound"),
        *("service_type", "policy_kind", "route_kind", "rcode", "type", "name_class", "tls", "currency"),
    }
)
"""Labels of few values, all known beforehand: they are folded last of all."""
_WEIGHT: Final = "__weight"
_ROW: Final = "__row"
_OWNER: Final = "__owner"


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` label sets, and of a namespace what `quota` leaves it; `folds` lists labels that become `other`,
    one step after the other."""

    most: int
    folds: tuple[tuple[str, ...], ...] = ()
    quota: Quota | None = None

    @property
    def detail(self) -> int:
        """How many may be there before anything is folded: the rest is for what is folded."""
        return max(0, self.most - 1 - self.most // KEPT_FOR_FOLDED)


def limit_of(most: int, order: Sequence[str]) -> Limit:
    """At most so many label sets, and the order in which detail goes. Raises ConfigError for a level that is none."""
    unknown = [level for level in order if level not in LEVELS]
    if unknown or len(set(order)) < len(order):
        raise ConfigError(f"pipeline.series_fold: {', '.join(order)!r} is not a choice of {', '.join(LEVELS)}")
    return Limit(most, tuple(LEVELS[level] for level in order))


def fitted(known: pl.DataFrame, new: pl.DataFrame, weights: pl.Series, limit: Limit) -> pl.DataFrame:
    """For each new label set, in order, the label set under which it is counted; `known` are there already.

    `new` and `known` have the same columns of text, and no row twice or in both; `weights` tell which are heavy.
    """
    names = new.columns
    if limit.quota is None and known.height + new.height <= limit.detail:
        return new
    room = _Room(limit, known)
    rows = new.with_row_index(_ROW).with_columns(weights.alias(_WEIGHT), owner_of(names).alias(_OWNER))
    fitting = room.first(_heaviest_first(rows, names), "whole")
    if fitting.height == new.height:
        return new
    done = [fitting.select(_ROW, *names)]
    rest = rows.join(fitting, on=_ROW, how="anti")
    taken = pl.concat([known, fitting.select(names)])
    steps = _steps(names, limit)
    for fold, detail in steps:
        rest = rest.with_columns(_folded(name, is_own=detail is not None) for name in fold)
        distinct = rest.group_by(names).agg(pl.col(_WEIGHT).sum(), pl.col(_OWNER).first())
        candidates = _heaviest_first(distinct.join(taken, on=names, how="anti"), names)
        if (fold, detail) != steps[-1]:  # there is always room for the one label set that is `other` in all
            candidates = room.first(candidates, detail)
        taken = pl.concat([taken, candidates.select(names)])
        done.append(rest.join(taken, on=names, how="semi").select(_ROW, *names))
        rest = rest.join(taken, on=names, how="anti")
        if rest.is_empty():
            break
    return pl.concat(done).sort(_ROW).select(names)


class _Room:
    """How many label sets still have room, in all and, where there is a quota, of each namespace."""

    def __init__(self, limit: Limit, known: pl.DataFrame) -> None:
        self._limit = limit
        self._used = known.height
        self._grants: Grants | None = None
        if limit.quota is not None:
            are_of_namespaces = not set(OWNERS).isdisjoint(known.columns)
            self._grants = Grants(limit.quota, limit.most - 1, counted(known), are_of_namespaces=are_of_namespaces)

    def first(self, rows: pl.DataFrame, detail: Detail | None) -> pl.DataFrame:
        """The first rows that there is room for; of each namespace, unless they have lost its name."""
        if self._grants is not None and detail is not None:
            granted = self._grants.grant(dict(rows.group_by(_OWNER).len().iter_rows()), detail)
            most = pl.col(_OWNER).replace_strict(granted, default=0, return_dtype=pl.Int64)
            fitting = rows.filter(pl.int_range(pl.len()).over(_OWNER) < most)
        else:
            most_of_all = self._limit.detail if detail == "whole" else self._limit.most - 1
            fitting = rows.head(max(0, most_of_all - self._used))
            if self._grants is not None:
                self._grants.lose(fitting.height)
        self._used += fitting.height
        return fitting


def _heaviest_first(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    return rows.sort(_WEIGHT, *names, descending=[True, *[False] * len(names)])


def _folded(name: str, *, is_own: bool) -> pl.Expr:
    """A label as `other`; of what is still a namespace's own, its name stays."""
    if is_own and name in OWNERS:
        return pl.when(pl.col(name) == pl.col(_OWNER)).then(pl.col(name)).otherwise(pl.lit(OTHER)).alias(name)
    return pl.lit(OTHER).alias(name)


def _steps(names: Sequence[str], limit: Limit) -> list[tuple[tuple[str, ...], Detail | None]]:
    """The labels that are `other` at each step, those of the steps before and more, at last all of them; and what
    detail that leaves, None where the namespace is gone. Where namespaces have quotas, each has an `other` of its own
    before its name goes too, unless that is to go before others."""
    steps: list[tuple[tuple[str, ...], Detail | None]] = []
    folded: list[str] = []
    is_open = tuple(name for name in names if name not in CLOSED)
    for at, labels in enumerate((*limit.folds, is_open, names)):
        folded += [name for name in names if name in labels and name not in folded]
        step = tuple(name for name in names if name in folded)
        is_own = limit.quota is not None and set(step).isdisjoint(OWNERS)
        more: list[tuple[tuple[str, ...], Detail | None]] = [(step, "folded" if is_own else None)]
        if limit.quota is not None and not is_own and at >= len(limit.folds) - 1:
            more.insert(0, (is_open, "other"))
        steps += [one for one in more if one[0] and one not in steps]
    return steps
