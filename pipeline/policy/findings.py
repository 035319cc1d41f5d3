"""Rules and what is the matter with them: unused, shadowed, over-broad, put together for people.

The invariant: a rule has no finding without a figure or a rule that stands for it.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from ..attribution.policies import Policies
from ..inventory.snapshot import Snapshot
from .shadows import SELECTS_NOTHING, SHADOWED, shadows
from .usage import over_broad, usage

UNUSED: Final = "unused"
LAST: Final = "with the last egress rule the isolation goes too, unless policyTypes names Egress"
"""Of the egress rules of a policy that names no directions, where all of them may be taken for needless."""


def findings(policies: Policies, snapshot: Snapshot, pairs: pl.DataFrame) -> pl.DataFrame:
    """Every rule as `usage.usage` has it, with `findings` (texts) and `shadowed_by` (names of rules)."""
    rules = usage(policies, snapshot, pairs)
    names = rules.select(
        "direction",
        "number",
        pl.concat_str(
            "kind",
            pl.lit(" "),
            pl.when(pl.col("namespace").is_not_null()).then(pl.col("namespace") + "/").otherwise(pl.lit("")),
            "name",
            pl.lit(" rule "),
            "rule",
        ).alias("covering"),
    )
    found = shadows(policies, snapshot)
    covering = (
        found.select("direction", "number", pl.col("shadowed_by").alias("by"))
        .explode("by")
        .drop_nulls("by")
        .join(names.rename({"number": "by"}), on=["direction", "by"], how="left", maintain_order="left")
        .group_by("direction", "number", maintain_order=True)
        .agg(shadowed_by=pl.col("covering"))
    )
    told = rules.join(found.drop("shadowed_by"), on=["direction", "number"], how="left", maintain_order="left").join(
        covering, on=["direction", "number"], how="left", maintain_order="left"
    )
    unused = pl.when(pl.col("connections") == 0).then(pl.lit(UNUSED))
    moot = pl.when(pl.col("finding") == SHADOWED).then(
        pl.lit(SHADOWED) + pl.when(pl.col("shadowed_by").is_null()).then(pl.lit(" by isolation")).otherwise(pl.lit(""))
    )
    is_needless = (pl.col("connections") == 0) | pl.col("finding").is_in([SHADOWED, SELECTS_NOTHING]).fill_null(
        value=False
    )
    last = pl.when(is_needless.all().over("direction", "kind", "namespace", "name") & _hangs(policies)).then(
        pl.lit(LAST)
    )
    listed = pl.concat_list(unused, pl.coalesce(moot, "finding"), last).list.drop_nulls()
    return told.with_columns(
        findings=pl.concat_list(listed, over_broad()), shadowed_by=pl.col("shadowed_by").fill_null([])
    ).drop("finding", "number")


def _hangs(policies: Policies) -> pl.Expr:
    """Of rules: whether their policy isolates only for having them."""
    named = [f"{item.namespace}/{item.name}" for item in policies.written if item.hangs_on_rules]
    is_named = pl.concat_str("namespace", pl.lit("/"), "name").is_in(named).fill_null(value=False)
    return (pl.col("direction") == "egress") & (pl.col("kind") == "NetworkPolicy") & is_named
