"""Recorded connections under the policies of before and of after: what would newly be cut, and what let through.

Both sides of the comparison are today's objects, so the difference is the change of policies alone. The invariant: what
cannot be judged is in neither list; `Judged.left_out` counts it.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from ..attribution.policies import Judgement, Policies
from .masqueraded import as_backends_saw, denied_behind
from .record import FIELDS, SIDES, Record, is_rare
from .responsible import labels_of

CUT: Final = "cut"
LET_THROUGH: Final = "let through"
CHANGE: Final = pl.Enum([CUT, LET_THROUGH])
DENIES: Final = ("deny", "isolates")
ALLOWS: Final = ("allow",)

_SEES_NODE: Final = pl.element() + ", where it sees the node that masquerades"
_PLACE: Final = tuple(field for field in FIELDS if field not in {"kind", "name"})
_WHO: Final = tuple(f"{side}_{field}" for side in SIDES for field in _PLACE)


def changed_pairs(pairs: pl.DataFrame, before: Policies, after: Policies) -> pl.DataFrame:
    """Of `Judged.pairs`, those whose verdict changes, with `change` (CHANGE) and `responsible` (texts).

    Of a connection that is cut, what cuts it is responsible; of one let through, what allows it now, or what no longer
    denies it where nothing needs to. What a node masqueraded is cut also where that cuts it which sees the node alone.
    """
    then, now = before.judgement(pairs), after.judgement(pairs)
    was_denied, is_denied = then.rows["verdict"] == "denied", now.rows["verdict"] == "denied"
    cut, opened = is_denied & ~was_denied, was_denied & ~is_denied
    allowing = _named(now, ALLOWS)
    freed = pl.select(pl.when(allowing.list.len() > 0).then(allowing).otherwise(_without(then))).to_series()
    told = pairs.with_columns(
        change=pl.when(cut).then(pl.lit(CUT)).when(opened).then(pl.lit(LET_THROUGH)).cast(CHANGE),
        responsible=pl.when(cut).then(_named(now, DENIES)).otherwise(freed),
    )
    behind = _cut_behind(pairs, (before, then), (after, now))
    behind = behind.filter(~cut.gather(behind["pair"]))
    whole = told.with_row_index("pair").update(behind, on="pair", how="left")
    return whole.drop("pair").filter(pl.col("change").is_not_null())


def _cut_behind(
    pairs: pl.DataFrame, before: tuple[Policies, Judgement], after: tuple[Policies, Judgement]
) -> pl.DataFrame:
    """`pair`, `change` and `responsible` of pairs that are cut as their backends see them; policies, and what they say
    of the pairs themselves, of before and after."""
    seen = as_backends_saw(pairs)
    now = after[0].judgement(seen)
    was_denied = denied_behind(before[1], before[0].judgement(seen), seen)
    is_cut = (now.rows["verdict"] == "denied") & ~was_denied
    told = seen.select("pair", change=pl.lit(CUT, CHANGE), responsible=_named(now, DENIES).list.eval(_SEES_NODE))
    return told.filter(is_cut).unique("pair", keep="first", maintain_order=True)


def by_workload(changed: pl.DataFrame, record: Record) -> pl.DataFrame:
    """Changed pairs by workload pair, port and what is responsible; what is cut first, the most connections first.

    `failed` connections were refused or never answered when they were recorded. `addresses` is how many addresses the
    two ends had where they are no pods. `is_rare` tells that every pair in the row is; `by_workload` counts connections
    of pods that are gone and were judged as their workload.
    """
    is_stand_in = (pl.col("source_by") == "workload") | (pl.col("destination_by") == "workload")
    grouped = changed.with_columns(rare=is_rare(record)).group_by("change", *_WHO, "port", "protocol", "responsible")
    rows = grouped.agg(
        connections=pl.col("connections").sum(),
        failed=(pl.col("refused") + pl.col("no_reply")).sum(),
        bytes=pl.col("bytes").sum(),
        pairs=pl.len().cast(pl.Int64),
        addresses=(pl.col("source_ip") + pl.col("destination_ip"))
        .filter((pl.col("source_ip") != "") | (pl.col("destination_ip") != ""))
        .n_unique()
        .cast(pl.Int64),
        last_seen=pl.col("last").max(),
        is_rare=pl.col("rare").all(),
        by_workload=pl.col("connections").filter(is_stand_in).sum(),
    )
    order = ["change", "connections", *_WHO, "port", "protocol"]
    return rows.sort(order, descending=[name == "connections" for name in order], nulls_last=True)


def _named(judgement: Judgement, effects: tuple[str, ...]) -> pl.Series:
    """Row by row, the policies of either direction with these effects; of a direction that denies where they deny."""
    texts = pl.lit(labels_of(judgement, effects))
    if effects == DENIES:
        denies = pl.lit(judgement.sides["verdict"] == "denied")
        said = [
            pl.when(denies.gather(column)).then(texts.gather(column)).otherwise(pl.lit([], dtype=pl.List(pl.String)))
            for column in ("egress", "ingress_policy")
        ]
    else:
        said = [texts.gather(column) for column in ("egress", "ingress_policy")]
    return judgement.rows.select(pl.concat_list(said).list.unique(maintain_order=True).alias("responsible")).to_series()


def _without(judgement: Judgement) -> pl.Series:
    return _named(judgement, DENIES).list.eval(pl.lit("no more: ") + pl.element())
