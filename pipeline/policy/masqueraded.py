"""Recorded pairs as their backends saw them: from the node that masqueraded the source, in place of the source.

Whether policies see the source or the node differs by CNI, and the NetworkPolicy API leaves it open. The invariant:
only what comes in is asked of such rows; on the way out the source is itself.
"""

from __future__ import annotations

import polars as pl

from ..attribution.policies import Judgement
from ..inventory.addresses import halves_of
from ..inventory.endpoints import OUTSIDE
from ..inventory.snapshot import Snapshot
from ..inventory.spans import END


def seen_as(pairs: pl.DataFrame, snapshot: Snapshot) -> pl.Series:
    """By pair (with `masqueraded_as`): whom a policy of the destination pod may have seen in place of the source, a
    list of {src_id, src_hi, src_lo}."""
    asked = pairs.select("masqueraded_as", "destination_kind").with_row_index("pair")
    seen = asked.filter(pl.col("destination_kind") == "Pod").explode("masqueraded_as").drop_nulls("masqueraded_as")
    now = snapshot.addresses.filter(pl.col("until") == END).select("addr_hi", "addr_lo", src_id="endpoint_id")
    halves = halves_of(seen["masqueraded_as"]).rename({"hi": "addr_hi", "lo": "addr_lo"})
    found = seen.hstack(halves).join(now, on=["addr_hi", "addr_lo"], how="left", maintain_order="left")
    who = pl.struct(pl.col("src_id").fill_null(pl.lit(OUTSIDE, pl.UInt32)), src_hi="addr_hi", src_lo="addr_lo")
    others = found.group_by("pair", maintain_order=True).agg(seen_as=who)
    return asked.join(others, on="pair", how="left", maintain_order="left")["seen_as"].fill_null([])


def as_backends_saw(pairs: pl.DataFrame) -> pl.DataFrame:
    """A row for each of `seen_as` of pairs: the pair from there, and `pair` (UInt32), its row in `pairs`."""
    seen = pairs.with_row_index("pair").drop("src_id", "src_hi", "src_lo").explode("seen_as")
    return seen.drop_nulls("seen_as").unnest("seen_as")


def denied_behind(judgement: Judgement, behind: Judgement, seen: pl.DataFrame) -> pl.Series:
    """By row of `seen` (`as_backends_saw`): whether it is denied, on the way out by what `judgement` says of its pair,
    or on the way in by what `behind` says of the row itself."""
    on_the_way_out = judgement.sides["verdict"].gather(judgement.rows["egress"].gather(seen["pair"])) == "denied"
    return on_the_way_out | (behind.rows["verdict"] == "denied")
