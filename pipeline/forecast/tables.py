"""What is forecast, as tables: by metric, by family, and by the namespace whose the series are. Pure.

The invariant: all three tell of the same series.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from ..aggregate.quota import owner_of
from ..aggregate.series import SeriesBudget
from ..catalog import BY_NAME
from .folding import folded
from .label_sets import FAMILIES, INTERFACES, Family, lines, recorded

_COUNTS: Final = {
    "label_sets": pl.Int64(),
    "series": pl.Int64(),  # label sets, times the buckets, sum and count of a histogram
    "beyond": pl.Int64(),  # label sets that the budget would fold into `other`; 0 without a budget
}
BY_METRIC: Final = pl.Schema({"metric": pl.String(), "cardinality": pl.String(), **_COUNTS})
"""A row a metric; `cardinality` is fine, careful or costly."""
BY_FAMILY: Final = pl.Schema({"family": pl.String(), **_COUNTS})
"""A row a family, whose label sets several metrics have."""
BY_NAMESPACE: Final = pl.Schema({"namespace": pl.String(), **_COUNTS})
"""A row a namespace, over all families; what is of none is under no name."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Three tables of the same, each with the most series first."""

    by_metric: pl.DataFrame
    by_family: pl.DataFrame
    by_namespace: pl.DataFrame


def forecast(history: pl.LazyFrame, budget: SeriesBudget | None = None) -> Forecast:
    """What rows of HISTORY would make, and what `budget`, which has seen nothing yet, would fold of it.

    Counters of interfaces are no part of it: there are as many as pods.
    """
    families = {family.name: family for family in FAMILIES}
    sets = recorded(history)
    forms = {name: (family.labels, family.width) for name, family in families.items() if name != INTERFACES}
    beyond = folded(sets, forms, budget) if budget is not None else {}
    counted = []
    for name, family in families.items():
        gone = beyond.get(name)
        is_beyond = pl.lit(value=False)
        frame = sets[name]
        if gone is not None and gone.height:
            frame = frame.join(gone.with_columns(is_beyond=True), on=family.labels, how="left")
            is_beyond = pl.col("is_beyond").fill_null(value=False)
        counted.append((family, frame.with_columns(is_beyond=is_beyond, namespace=owner_of(family.labels))))
    return Forecast(
        _sorted(pl.concat([_metrics(*one) for one in counted]), BY_METRIC),
        _sorted(pl.concat([_sets(*one).with_columns(family=pl.lit(one[0].name)) for one in counted]), BY_FAMILY),
        _sorted(pl.concat([_sets(*one) for one in counted]), BY_NAMESPACE),
    )


def _metrics(family: Family, sets: pl.DataFrame) -> pl.DataFrame:
    """A row a metric of the family."""
    rows = []
    for metric, times in family.metrics.items():
        number = sets.select("is_beyond", times=times.cast(pl.Int64))
        count, beyond = (int(part["times"].sum()) for part in (number, number.filter("is_beyond")))
        rows.append((metric, BY_NAME[metric].cardinality, count, count * lines(metric), beyond))
    return pl.DataFrame(rows, schema=BY_METRIC, orient="row")


def _sets(family: Family, sets: pl.DataFrame) -> pl.DataFrame:
    """A row a namespace with label sets of the family."""
    series = pl.sum_horizontal(times.cast(pl.Int64) * lines(metric) for metric, times in family.metrics.items())
    return (
        sets.select("namespace", "is_beyond", series=series)
        .group_by("namespace")
        .agg(
            pl.len().cast(pl.Int64).alias("label_sets"),
            pl.col("series").sum(),
            pl.col("is_beyond").sum().cast(pl.Int64).alias("beyond"),
        )
    )


def _sorted(rows: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    keys = [name for name in schema.names() if name not in _COUNTS]
    summed = rows.group_by(keys).agg(pl.col(name).sum() for name in _COUNTS)
    return summed.select(schema.names()).sort("series", keys[0], descending=[True, False]).match_to_schema(schema)
