"""Flows between whatever a cluster has, for tests of policies over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from pipeline.inventory.snapshot import Snapshot
from tests.pipeline.attribution.policies.clusters import PORTS


def flows_of(cluster: Snapshot, starts: Sequence[int], seed: int, known: int | None = None) -> pl.DataFrame:
    """A flow a start, with the columns that policies ask for, between endpoints of ids below `known`."""
    random = np.random.default_rng(seed)
    ends = cluster.addresses.filter(pl.col("endpoint_id") < (known or cluster.endpoints.height))
    ends = ends.sort("addr_hi", "addr_lo").vstack(_outside(ends))
    sources, destinations = (ends[random.integers(0, ends.height, len(starts))] for _ in range(2))
    return pl.DataFrame(
        {
            "start": pl.Series(starts, dtype=pl.Int64),
            "src_id": sources["endpoint_id"],
            "src_hi": sources["addr_hi"],
            "src_lo": sources["addr_lo"],
            "dst_id": destinations["endpoint_id"],
            "backend_hi": destinations["addr_hi"],
            "backend_lo": destinations["addr_lo"],
            "backend_port": random.choice(np.array(PORTS, dtype=np.uint16), len(starts)),
            "protocol": random.choice(np.array([6, 17, 132, 1], dtype=np.uint8), len(starts)),
        }
    )


def known_until(cluster: Snapshot, height: int) -> Snapshot:
    """The snapshot as it was before the endpoints from `height` on came; of the same numbering."""
    return replace(
        cluster,
        endpoints=cluster.endpoints.head(height),
        subjects=cluster.subjects[:height],
        addresses=cluster.addresses.filter(pl.col("endpoint_id") < height),
    )


def _outside(ends: pl.DataFrame) -> pl.DataFrame:
    return ends.head(1).with_columns(
        pl.lit(0, pl.UInt32).alias("endpoint_id"),
        pl.lit(0xFFFFCB007107, pl.UInt64).alias("addr_lo"),
        pl.lit(0, pl.UInt64).alias("addr_hi"),
    )
