"""Attribution of dropped packets: who sent each, and to whom, as of the moment at which it was counted."""

from __future__ import annotations

from typing import Final

import polars as pl

from ..inventory.snapshot import Snapshot
from .flows import attribute

_ENDS: Final = {"backend": "dst", "nat_src": "src"}


def attribute_drops(drops: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame:
    """Drops with `src_id` and `dst_id` as `attribute` gives them to a flow of the packet's own ends.

    A Service's address that was not translated yet is the Service. `drops` have the columns of `collector.schema.DROPS`
    and `node` (Categorical); all of them and the order of rows are kept.
    """
    ends = [
        drops[f"{ours}_{part}"].alias(f"{end}_{part}") for end, ours in _ENDS.items() for part in ("hi", "lo", "port")
    ]
    as_flows = drops.drop("reason").hstack([*ends, drops["time"].alias("start")])  # a flow has a reason of its own
    return drops.hstack(attribute(as_flows, snapshot).select("src_id", "dst_id"))
