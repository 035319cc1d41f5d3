"""Answers on policies as tables for people: an end is one column, as in `observe`, and what is long comes last.

The other formats have every column. The invariant: a row is a row in all of them.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from .output import full_name

_LAST: Final = ("responsible", "findings")
_FOR_PROGRAMS: Final = ("pairs", "addresses", "by_workload", "decided")
"""Columns that a table leaves out, and those that end as these do."""
_ENDS: Final = ("_used", "_allowed")


def narrow(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with fewer and narrower columns, in the same order."""
    columns: list[pl.Expr] = []
    for name in rows.columns:
        if name in ("source_namespace", "destination_namespace"):
            side = name.removesuffix("_namespace")
            heading = {"source": "from", "destination": "to"}[side]
            columns.append(_named(name, f"{side}_workload").alias(heading))
        elif name == "namespace" and "workload" in rows.columns:
            columns.append(_named(name, "workload").alias("workload"))
        elif name == "port" and "protocol" in rows.columns:
            protocol = pl.col("protocol").cast(pl.String).str.to_lowercase()
            columns.append(
                pl.concat_str(pl.col(name).cast(pl.String).fill_null("-"), pl.lit("/"), protocol).alias(name)
            )
        elif name == "kind" and "rule" in rows.columns:
            policy = _named("namespace", "name")
            columns.append(pl.concat_str("kind", pl.lit(" "), policy).alias("policy"))
        elif not _is_told(name, rows):
            columns.append(pl.col(name))
    shown = rows.select(columns)
    last = [name for name in _LAST if name in shown.columns]
    return shown.select(pl.exclude(last), *last)


def _named(namespace: str, name: str) -> pl.Expr:
    return full_name(pl.col(namespace), pl.col(name).cast(pl.String).fill_null("-"))


def _is_told(name: str, rows: pl.DataFrame) -> bool:
    """Whether a column is within another one, or for programs alone."""
    parts = ("_workload_kind", "_workload", "protocol", "workload_kind", "workload")
    if name in _FOR_PROGRAMS or name.endswith((*parts, *_ENDS)):
        return True
    if name == "shadowed_by":
        return bool((rows[name].fill_null("") == "").all())
    return name in ("namespace", "name") and "rule" in rows.columns
