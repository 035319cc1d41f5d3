"""Names of what a mesh adds: the subset, and a struct for people and files."""

from __future__ import annotations

import polars as pl

from ..inventory.snapshot import Snapshot
from .mesh_lookups import mesh_lookups_of


def subset_name(snapshot: Snapshot) -> pl.Expr:
    """The column `subset`: the name of `subset_id`, "" where there is none."""
    names = mesh_lookups_of(snapshot).subset_rows["subset"]
    return pl.lit(names).gather(pl.col("subset_id")).fill_null("").alias("subset")


def mesh_struct(snapshot: Snapshot) -> pl.Expr:
    """{mode, subset}: how the pair is connected and the subset that answered; null where neither is."""
    names = mesh_lookups_of(snapshot).subset_rows["subset"]
    mode = pl.when(pl.col("mesh") != "none").then(pl.col("mesh").cast(pl.String))
    told = pl.struct(mode.alias("mode"), pl.lit(names).gather(pl.col("subset_id")).alias("subset"))
    return pl.when((pl.col("mesh") != "none") | pl.col("subset_id").is_not_null()).then(told)
