"""What a key means where several facts may claim it at once: one answer, or all of them as a set.

It makes the spans of a key disjoint, which `timelines` need. The invariant: an answer is given where all facts that
hold agree on it; where they do not, the answer is null and the set names every one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..inventory.services import VIAS
from .arrays import is_there, numbers, table
from .keyindex import KeyIndex
from .timelines import Timeline

NO_VIA: Final = np.uint8(len(VIAS.categories))
"""In place of the code of a via."""


@dataclass(frozen=True, eq=False)
class Answers:
    """Facts by key with `answer` (UInt32), `via` and `answers` (UInt32).

    `answer` and `via` are null where several facts disagree; `answers` is the row of `sets` then, and null elsewhere.
    """

    index: KeyIndex
    timeline: Timeline
    sets: pl.Series
    """Sorted lists of answers."""

    def rows(self, keys: NDArray[np.uint64], starts: NDArray[np.int64]) -> NDArray[np.int32]:
        """The row of the facts that each key meant when its flow began; -1 where it meant none."""
        found: NDArray[np.int32] = self.timeline.rows_at(self.index.find([keys]), starts)
        return found

    @cached_property
    def answer(self) -> NDArray[np.int32]:
        """By a row that `rows` gives: the answer; -1 where there is none, or several."""
        return table(self.timeline.facts["answer"], -1)

    @cached_property
    def several(self) -> NDArray[np.int32]:
        """The same: the row of `sets`; -1 where there is none, or one answer alone."""
        return table(self.timeline.facts["answers"], -1)

    @cached_property
    def count(self) -> NDArray[np.int32]:
        """The same: how many answers there are."""
        of_sets = np.append(self.sets.list.len().to_numpy().astype(np.int32), np.int32(0))
        counts: NDArray[np.int32] = np.where(self.answer >= 0, np.int32(1), of_sets.take(self.several))
        return counts

    @cached_property
    def via(self) -> NDArray[np.uint8]:
        """The same: the code of the via; NO_VIA where there is none, or several."""
        via = self.timeline.facts["via"]
        return np.append(np.where(is_there(via), numbers(via), NO_VIA), NO_VIA).astype(np.uint8)


def answers_of(claims: pl.DataFrame) -> Answers:
    """The answers in claims with the columns `key` (UInt64), `answer`, `via`, `since` and `until`, in any order."""
    facts = claims.select("key", "answer", "via", "since", "until", pl.lit(None, pl.UInt32).alias("answers"))
    index = KeyIndex([facts["key"].to_numpy()])
    is_contested = _is_contested(facts, index)
    if not is_contested.any():
        return Answers(index, Timeline(facts, index.numbers, len(index)), pl.Series(dtype=pl.List(pl.UInt32())))
    pieces = _pieces(facts.filter(is_contested))
    is_single = pl.col("set").list.len() == 1
    is_several = pl.col("set").list.len() > 1
    told = pieces.select(
        "key",
        pl.when(is_single).then(pl.col("set").list.first()).alias("answer"),
        pl.when(is_single).then("via").alias("via"),
        "since",
        "until",
        pl.when(is_several).then(is_several.cum_sum() - 1).cast(pl.UInt32).alias("answers"),
    )
    facts = pl.concat([facts.filter(~is_contested), told], rechunk=True)
    numbered = index.find([facts["key"].to_numpy()])
    return Answers(index, Timeline(facts, numbered, len(index)), pieces.filter(is_several)["set"])


def _is_contested(claims: pl.DataFrame, index: KeyIndex) -> pl.Series:
    """By row, whether its key is claimed more than once at a time: then two claims in a row overlap."""
    keys = index.numbers
    is_contested = np.zeros(len(index), bool)
    repeated = np.flatnonzero(np.bincount(keys, minlength=len(index))[keys] > 1)
    since, until = claims["since"].to_numpy(), claims["until"].to_numpy()
    ordered = repeated[np.lexsort((since[repeated], keys[repeated]))]
    before, after = ordered[:-1], ordered[1:]
    overlap = (keys[before] == keys[after]) & (since[after] < until[before])
    is_contested[keys[after[overlap]]] = True
    return pl.Series(is_contested[keys])


def _pieces(claims: pl.DataFrame) -> pl.DataFrame:
    """The spans between two changes of a key in which any claim held, with the set of their answers and the first via.

    Few keys are claimed more than once at a time, so the claims of a key meet all of its spans.
    """
    edges = pl.concat([claims.select("key", at="since"), claims.select("key", at="until")]).unique().sort("key", "at")
    spans = edges.select("key", since="at", until=pl.col("at").shift(-1).over("key")).drop_nulls()
    held = spans.join(claims, on="key", suffix="_claim", maintain_order="left").filter(
        pl.col("since_claim") <= pl.col("since"), pl.col("until") <= pl.col("until_claim")
    )
    return held.group_by("key", "since", "until", maintain_order=True).agg(
        set=pl.col("answer").unique().sort(), via=pl.col("via").sort().first()
    )
