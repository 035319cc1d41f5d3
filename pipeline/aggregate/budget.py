"""How many series there may be: heavy ones are kept, what is beyond is folded into `other`, and no sum changes. Pure.

A label set that is known stays what it is. New ones are let in while there is room, the heaviest first; of those that
are not, labels are replaced by `other`, the finest first, until what is left fits. The invariant: label sets never
number more than `Limit.most`, and each new one is counted under exactly one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from ..errors import ConfigError

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


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` label sets; `folds` lists labels that become `other`, one step after the other."""

    most: int
    folds: tuple[tuple[str, ...], ...] = ()

    @property
    def detail(self) -> int:
        """How many may be there before anything is folded: the rest is for what is folded."""
        return max(0, self.most - 1 - self.most // 10)


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
    room = max(0, limit.detail - known.height)
    if new.height <= room:
        return new
    rows = (
        new.with_row_index(_ROW)
        .with_columns(weights.alias(_WEIGHT))
        .sort(_WEIGHT, *names, descending=[True, *[False] * len(names)])
    )
    done = [rows.head(room)]
    rest = rows.slice(room)
    taken = pl.concat([known, done[0].select(names)])
    for fold in _steps(names, limit):
        rest = rest.with_columns(pl.lit(OTHER).alias(name) for name in fold)
        candidates = (
            rest.group_by(names)
            .agg(pl.col(_WEIGHT).sum())
            .join(taken, on=names, how="anti")
            .sort(_WEIGHT, *names, descending=[True, *[False] * len(names)])
            .select(names)
        )
        is_last = fold == tuple(names)
        taken = pl.concat([taken, candidates if is_last else candidates.head(max(0, limit.most - 1 - taken.height))])
        done.append(rest.join(taken, on=names, how="semi"))
        rest = rest.join(taken, on=names, how="anti")
        if rest.is_empty():
            break
    return pl.concat(done).sort(_ROW).select(names)


def _steps(names: Sequence[str], limit: Limit) -> list[tuple[str, ...]]:
    """The labels that are `other` at each step: those of the steps before and more, at last all of them."""
    steps: list[tuple[str, ...]] = []
    folded: list[str] = []
    for labels in (*limit.folds, [name for name in names if name not in CLOSED], names):
        folded += [name for name in names if name in labels and name not in folded]
        step = tuple(name for name in names if name in folded)
        if step and step not in steps:
            steps.append(step)
    return steps
