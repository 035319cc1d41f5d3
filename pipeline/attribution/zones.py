"""How far apart the two ends of a connection are: on one node, in one zone, between zones or regions, on the internet.

Zones and regions are those of the nodes' labels; a named range beyond the cluster may have them too. The invariant:
what the labels do not tell is `unknown`, and never taken to be near.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..inventory.endpoints import OUTSIDE
from ..inventory.snapshot import Snapshot
from . import arrays

Ids = NDArray[np.uint32]

LOCALITIES: Final[pl.Enum] = pl.Enum(
    ["same_node", "same_zone", "cross_zone", "same_region", "cross_region", "internet", "unknown"]
)
"""`same_region` is what lies in one region while the zone of an end is not known, such as a cloud's own storage."""

_PLACE: Final = ("zone", "region", "is_internet")


class Zones:
    """Where the endpoints of one snapshot are. Numbers of places and nodes stay while the snapshot's numbering does."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._endpoints = snapshot.endpoints
        self._own_ids = snapshot.outside.own_ids

    @cached_property
    def places(self) -> pl.DataFrame:
        """zone, region, is_internet, by the number of the place."""
        return self._located.select(_PLACE).unique(maintain_order=True)

    @cached_property
    def place(self) -> pl.Series:
        """By endpoint id: the number of its place (UInt32)."""
        numbered = self.places.with_row_index("place")
        return self._located.join(numbered, on=_PLACE, how="left", maintain_order="left")["place"]

    @cached_property
    def node(self) -> pl.Series:
        """By endpoint id: the number of its node (UInt32); null where it is on none."""
        named = self._endpoints.select("node").filter(pl.col("node") != "").unique(maintain_order=True)
        numbered = named.with_row_index("number")
        return self._endpoints.join(numbered, on="node", how="left", maintain_order="left")["number"]

    @cached_property
    def _node_ids(self) -> Ids:
        return arrays.ids(self.node)

    def pairs(self, src_ids: Ids, dst_ids: Ids) -> dict[str, pl.Series]:
        """`src_place`, `dst_place` and `is_same_node` of the ids of two ends by row: all that distance depends on.

        Cheap to group by; `locality` is computed on what is left.
        """
        place, node = self.place.to_numpy(), self._node_ids
        source, destination = node.take(src_ids), node.take(dst_ids)
        return {
            "src_place": pl.Series(place.take(src_ids)),
            "dst_place": pl.Series(place.take(dst_ids)),
            "is_same_node": pl.Series((source == destination) & (source != arrays.NO_ID)),
        }

    def locality(self) -> pl.Expr:
        """One of LOCALITIES, of rows with the columns of `pairs`."""

        def ends(column: str) -> tuple[pl.Expr, pl.Expr]:
            values = pl.lit(self.places[column])
            return values.gather(pl.col("src_place")), values.gather(pl.col("dst_place"))

        (from_zone, to_zone), (from_region, to_region) = ends("zone"), ends("region")
        has_zones = (from_zone != "") & (to_zone != "")
        has_regions = (from_region != "") & (to_region != "")
        rules = [
            ("internet", pl.any_horizontal(ends("is_internet"))),
            ("same_node", pl.col("is_same_node")),
            ("cross_region", has_regions & (from_region != to_region)),
            ("same_zone", has_zones & (from_zone == to_zone)),
            ("cross_zone", has_zones),
            ("same_region", has_regions),
        ]
        told = [pl.when(applies).then(pl.lit(name, dtype=LOCALITIES)) for name, applies in rules]
        return pl.coalesce(*told, pl.lit("unknown", dtype=LOCALITIES)).alias("locality")

    def zone(self, place: str) -> pl.Expr:
        """The zone's name of the place in a column, "" where it has none."""
        return pl.lit(self.places["zone"]).gather(pl.col(place))

    @cached_property
    def _located(self) -> pl.DataFrame:
        is_beyond = (pl.col("kind") == "External") & ~pl.col("id").is_in(self._own_ids)
        return self._endpoints.select("zone", "region", is_internet=is_beyond | (pl.col("id") == OUTSIDE))


@lru_cache(maxsize=2)
def zones_of(snapshot: Snapshot) -> Zones:
    """Where the endpoints of a snapshot are; the newest two are kept."""
    return Zones(snapshot)


def with_locality(flows: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame:
    """Flows with `src_id` and `dst_id` under `snapshot`, and `locality` (Enum LOCALITIES) added; order is kept."""
    zones = zones_of(snapshot)
    pairs = zones.pairs(flows["src_id"].to_numpy(), flows["dst_id"].to_numpy())
    return flows.with_columns(**pairs).with_columns(zones.locality()).drop(*pairs)
