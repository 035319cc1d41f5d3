"""Attribution of dropped packets: who sent each, and to whom, as of the moment at which it was counted."""

from __future__ import annotations

from typing import Final

import polars as pl

from ..inventory.snapshot import Snapshot
from .flows import attribute

_ENDS: Final = {"backend": "dst", "nat_src": "src"}
_REASON: Final = "drop_reason"


def attribute_drops(drops: pl.LazyFrame, snapshot: Snapshot) -> pl.LazyFrame:
    """Drops with `src_id` and `dst_id` as `attribute` gives them to a flow of the packet's own ends.

    A Service's address that was not translated yet is the Service. `drops` have the columns of `collector.schema.DROPS`
    and `node` (Categorical); all of them and the order of rows are kept.
    """
    ends = [
        pl.col(f"{ours}_{part}").alias(f"{end}_{part}") for end, ours in _ENDS.items() for part in ("hi", "lo", "port")
    ]
    columns = drops.collect_schema().names()
    as_flows = drops.with_columns(*ends, start=pl.col("time")).rename({"reason": _REASON})  # a flow has one of its own
    attributed = attribute(as_flows, snapshot).drop("reason").rename({_REASON: "reason"})
    return attributed.select(*columns, "src_id", "dst_id")
