"""Several routes that a flow may be of, and fewer of them where its server's name or its path is known.

The most specific rule wins, as in the Ingress and Gateway APIs: an exact host before the longest wildcard before every
host; then an exact path before the longest prefix, and patterns by length too. The invariant: what is narrowed is a
subset of the candidates; a host or path that no candidate has leaves them as they are, and so does a path whose cut
end would decide.

Source: the API references of Ingress (path types) and HTTPRoute (precedence of matches).
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Final

import numpy as np
import polars as pl

from collector.schema import PATH_CUT

from ..inventory.snapshot import Snapshot
from . import arrays
from .arrays import Rows
from .lookups import Ids
from .route_lookups import route_lookups_of

HOST: Final = "server_name"
PATH: Final = "path"


class RouteSets:
    """The sets of routes that a `route_set` means, and what each narrows to."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._lookups = route_lookups_of(snapshot)

    @property
    def sets(self) -> pl.Series:
        """By `route_set`: the ids of the candidates, sorted."""
        return self._numbered[0]

    @property
    def patterns(self) -> pl.DataFrame:
        """base (a set), host, path (null for all of the host), path_type, and the `route_id` or `route_set` that are
        left of the base under both."""
        return self._numbered[1]

    @cached_property
    def _numbered(self) -> tuple[pl.Series, pl.DataFrame]:
        whole = self._lookups.routes.sets.rename("members")
        members = (
            whole.to_frame()
            .with_row_index("base")
            .explode("members")
            .join(
                self._lookups.frame.select("route_id", "host", "path", "path_type"),
                left_on="members",
                right_on="route_id",
            )
        )
        key = ["base", "host", "path", "path_type"]
        by_host = members.group_by("base", "host").agg(pl.col("members").unique().sort())
        by_path = members.group_by(key).agg(pl.col("members").unique().sort())
        subsets = pl.concat([by_path, by_host], how="diagonal").sort(key)
        is_several = pl.col("members").list.len() > 1
        number = (is_several.cum_sum() - 1 + whole.len()).cast(pl.UInt32)
        patterns = subsets.select(
            *key,
            pl.when(~is_several).then(pl.col("members").list.first()).alias("left_id"),
            pl.when(is_several).then(number).alias("left_set"),
        )
        return pl.concat([whole, subsets.filter(is_several)["members"]]), patterns


def narrow(flows: pl.DataFrame, route: Ids, several: Ids, snapshot: Snapshot) -> Rows:
    """Narrow `route` and `several`, ids and sets by row of the flows, by what is known of host and path; the rows where
    several candidates became one.

    Few rows have both a set and a head, so these alone are judged, each distinct question once.
    """
    rows = np.flatnonzero(several >= 0)
    if not rows.size or HOST not in flows.columns or (sets := route_sets_of(snapshot)).patterns.is_empty():
        return rows[:0]
    heads = arrays.taken(flows, rows, *(name for name in (HOST, PATH) if name in flows.columns))
    host = pl.col(HOST).cast(pl.String).str.to_lowercase().str.replace(r":\d+$", "")
    path = pl.col(PATH).cast(pl.String) if PATH in heads.columns else pl.lit(None, pl.String)
    asking = (
        heads.lazy()
        .with_columns(flow_row=pl.Series(rows), route_set=pl.Series(several.take(rows).astype(np.uint32)))
        .filter(pl.col(HOST) != "")
        .select("flow_row", "route_set", asked_host=host, asked_path=path)
        .with_columns(pl.when(pl.col("asked_path") != "").then("asked_path"))
    )
    asked = ("route_set", "asked_host", "asked_path")
    answers = _answers(asking.select(asked).unique(), sets.patterns)
    told = asking.join(answers, on=asked, nulls_equal=True).select("flow_row", "left_id", "left_set").collect()
    at, is_one = told["flow_row"].to_numpy(), arrays.is_there(told["left_id"])
    several[at] = arrays.table(told["left_set"], -1)[:-1]
    one = at[is_one]
    route[one] = arrays.numbers(told["left_id"])[is_one]
    return one


def _answers(questions: pl.LazyFrame, patterns: pl.DataFrame) -> pl.LazyFrame:
    """What is left of each set: of its best host, the best path, or all where it cannot be told which is the best."""
    asked = ("route_set", "asked_host", "asked_path")
    of_host = (
        questions.join(patterns.lazy(), left_on="route_set", right_on="base")
        .filter(_is_host())
        .with_columns(host_rank=_host_rank())
        .filter(pl.col("host_rank") == pl.col("host_rank").max().over(asked))
        .with_columns(is_open=_is_open())
        .filter(pl.col("path").is_null() | (_is_path() & ~pl.col("is_open").any().over(asked)))
    )
    return (
        of_host.sort(_path_rank(), descending=True)
        .group_by(asked, maintain_order=True)
        .agg(pl.col("left_id", "left_set").first())
    )


def _is_host() -> pl.Expr:
    host, asked = pl.col("host"), pl.col("asked_host")
    is_below = host.str.starts_with("*.") & asked.str.ends_with(host.str.slice(1))
    return (host == "") | (host == asked) | is_below


def _is_path() -> pl.Expr:
    """Whether the rule's path is the one asked for, or above it; where the end of that was cut, above what is left."""
    path, asked = pl.col("path"), pl.col("asked_path")
    bare = path.str.strip_chars_end("/")
    is_below = (asked == bare) | asked.str.starts_with(pl.concat_str(bare, pl.lit("/"))) | (bare == "")
    matches = (
        pl.when(pl.col("path_type") == "exact")
        .then(asked == path)
        .when(pl.col("path_type") == "pattern")
        .then(asked.str.contains(pl.concat_str(pl.lit("^(?:"), path, pl.lit(")")), strict=False))
        .otherwise(is_below)
    )
    return asked.is_not_null() & matches.fill_null(value=False)


def _is_open() -> pl.Expr:
    """Whether what was cut from the path decides if the rule is its own."""
    known = pl.col("asked_path").str.strip_suffix(PATH_CUT)
    may_go_on = pl.col("path").str.starts_with(known) | (pl.col("path_type") == "pattern")
    is_cut = pl.col("asked_path").str.ends_with(PATH_CUT)
    return (pl.col("path").is_not_null() & is_cut & may_go_on).fill_null(value=False)


def _host_rank() -> pl.Expr:
    """An exact host, then the longest wildcard, then every host; wildcards are shorter than what they match."""
    return pl.when(pl.col("host") == pl.col("asked_host")).then(1 << 16).otherwise(pl.col("host").str.len_bytes())


def _path_rank() -> pl.Expr:
    """An exact path, then the longest, then all of a host."""
    length = pl.col("path").str.len_bytes().cast(pl.Int64)
    return pl.when(pl.col("path_type") == "exact").then(1 << 32).otherwise(length.fill_null(-1))


@lru_cache(maxsize=2)
def route_sets_of(snapshot: Snapshot) -> RouteSets:
    """The sets of a snapshot's routes; those of the newest two are kept."""
    return RouteSets(snapshot)
