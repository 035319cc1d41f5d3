"""Connections between addresses as the rows that policies are asked about."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from pipeline.inventory.addresses import halves_of
from pipeline.inventory.endpoints import OUTSIDE
from pipeline.inventory.snapshot import Snapshot

Connection = tuple[str, str, int, int]
"""Source and destination address, protocol number, port."""


def pairs_of(cluster: Snapshot, connections: Sequence[Connection]) -> pl.DataFrame:
    """A row a connection, in order, with the ends' ids; what nothing holds is outside."""
    columns: list[pl.Series] = []
    for at, end, name in ((0, "src", "src_id"), (1, "backend", "dst_id")):
        halves = halves_of(pl.Series([row[at] for row in connections], dtype=pl.String))
        held = cluster.addresses.select("addr_hi", "addr_lo", "endpoint_id")
        ids = halves.join(
            held, left_on=["hi", "lo"], right_on=["addr_hi", "addr_lo"], how="left", maintain_order="left"
        )
        columns += [halves["hi"].alias(f"{end}_hi"), halves["lo"].alias(f"{end}_lo")]
        columns.append(ids["endpoint_id"].fill_null(OUTSIDE).alias(name))
    columns.append(pl.Series("protocol", [row[2] for row in connections], dtype=pl.UInt8))
    columns.append(pl.Series("backend_port", [row[3] for row in connections], dtype=pl.UInt16))
    return pl.DataFrame(columns)
