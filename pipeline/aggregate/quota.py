"""What one namespace may have of the series: all but a reserve, and of that, half of what others leave. Pure.

A label set is its namespace's that opened the connection; else of the one that answered, or that the Service, route or
policy is of. What is of none counts as of one by the name "".

A namespace takes what it asks for while all together are within a share of the limit. What is beyond that share is the
reserve, of which only those have something that have little: nobody comes to hold more than half of what all others
leave of the limit (nor more than the share of it, where that is less). The invariant: however many label sets a
namespace asks for, whoever comes next has half of what is left; and of those that come at once, who asks for little is
served first, and none takes all that is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import polars as pl

OWNERS: Final = (
    "namespace",
    "source_namespace",
    "destination_namespace",
    "service_namespace",
    "route_namespace",
    "policy_namespace",
)
"""Labels of which the first that is not empty is whose a label set is."""
KEPT_FOR_FOLDED: Final = 10
"""One in so many is kept for label sets that are folded."""
KEPT_FOR_OTHER: Final = 20
"""One in so many, half of those, is kept for what is `other` but for the namespace."""
HALF: Final = 0.5
"""Of what others leave, a namespace has this at most where the reserve is touched."""

Detail = Literal["whole", "folded", "other"]
"""How much of its labels a label set has: all, some, or its namespace alone."""


def owner_of(labels: Sequence[str]) -> pl.Expr:
    """Whose a row of these labels is."""
    owners = (pl.col(name).replace("", None) for name in OWNERS if name in labels)
    return pl.coalesce(*owners, pl.lit(""))


def counted(labels: pl.DataFrame) -> dict[str, int]:
    """How many of these label sets each namespace has."""
    if set(OWNERS).isdisjoint(labels.columns):
        return {"": labels.height} if labels.height else {}
    return dict(labels.group_by(owner_of(labels.columns).alias("owner")).len().iter_rows())


@dataclass(frozen=True, slots=True)
class Quota:
    """The share that is not reserve, and what it is of beside the family's own limit: all series, of which `total` are
    there, `held` by namespace. A label set of the family makes `width` series."""

    share: float
    most: int
    held: Mapping[str, int]
    total: int
    width: int


class Grants:
    """What is granted of one family's `most` label sets, of which `known` are there by namespace.

    Where no label names one, nobody else has a use of the family's limit: there the share is of all series alone."""

    def __init__(self, quota: Quota, most: int, known: Mapping[str, int], *, are_of_namespaces: bool) -> None:
        self._quota = quota
        self._share = quota.share if are_of_namespaces else 1.0
        self._most = most
        self._sets, self._total = dict(known), sum(known.values())
        self._given: dict[str, int] = {}
        self._given_total = 0

    def grant(self, wanted: Mapping[str, int], detail: Detail) -> dict[str, int]:
        """By namespace how many of the label sets that it asks for it has from now on."""
        quota = self._quota
        most, most_series = _but_kept(self._most, detail), _but_kept(quota.most, detail)
        granted: dict[str, int] = {}
        for owner, number in sorted(wanted.items(), key=lambda item: (item[1], item[0])):
            own, given = self._sets.get(owner, 0), self._given.get(owner, 0)
            series = quota.held.get(owner, 0) + given * quota.width
            all_series = quota.total + self._given_total * quota.width
            askers = len(wanted) - len(granted)
            of_sets = _room(self._share, most, self._total, own, askers)
            of_series = _room(quota.share, most_series, all_series, series, askers)
            number = max(0, min(number, int(of_sets), int(of_series) // quota.width))
            self._sets[owner], self._given[owner] = own + number, given + number
            self._total += number
            self._given_total += number
            granted[owner] = number
        return granted

    def lose(self, number: int) -> None:
        """So many more label sets are there that are no namespace's any more."""
        self._total += number
        self._given_total += number


def _room(share: float, most: int, total: int, own: int, askers: int) -> float:
    """What is left to one of so many that ask, who has `own` of the `total` that are there."""
    free = (share * most - total) / askers
    of_reserve = min(share, HALF) * (most - total + own) - own
    return max(free, of_reserve) if share < 1 else float(most - total)


def _but_kept(most: int, detail: Detail) -> int:
    """What there is for label sets of so much detail."""
    match detail:
        case "whole":
            return most - most // KEPT_FOR_FOLDED
        case "folded":
            return most - most // KEPT_FOR_OTHER
        case "other":
            return most
