"""Which Service port a flow means: by what was dialled, or by the backend where a dataplane shows nothing else."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .arrays import Mask
from .lookups import Lookups, packed, packed_port


def join_services(flows: pl.LazyFrame, lookups: Lookups, *, by_backend: bool) -> pl.LazyFrame:
    """Add `service_id`, `via` and `service_set`, by the address, port and protocol dialled.

    A Service's own address comes first. Then node ports, which answer on every address of a node, also on those that
    the Node object does not list: an address that nothing holds, but whose packets were redirected to a backend, was
    such a one. Last, `by_backend`, the backends of Services, where nothing was redirected.
    """
    port, protocol = pl.col("dst_port"), pl.col("protocol")
    own = packed(pl.col("dst_address"), port, protocol)
    is_on_node = pl.lit(lookups.is_node).gather("dst_end") | (pl.col("dst_end").is_null() & is_redirected())
    kinds = [
        (lookups.dials, "dial_row", own),
        (
            lookups.node_ports,
            "node_port_row",
            pl.when(pl.col("dial_row").is_null() & is_on_node).then(packed_port(port, protocol)),
        ),
    ]
    if by_backend:
        is_plain = pl.col("dial_row").is_null() & pl.col("node_port_row").is_null() & ~is_redirected()
        kinds.append((lookups.backends, "backend_row", pl.when(is_plain).then(own)))
    offset = 0
    sets: list[pl.Expr] = []
    for answers, row, key in kinds:
        flows = answers.join(flows, key, row)
        if len(answers.sets):
            sets.append(answers.gather("answers", row) + offset)
        offset += len(answers.sets)
    return flows.with_columns(
        service_id=pl.coalesce(answers.gather("answer", row) for answers, row, _ in kinds),
        via=pl.coalesce(answers.gather("via", row) for answers, row, _ in kinds),
        service_set=pl.coalesce(sets) if sets else pl.lit(None, pl.UInt32),
    ).drop(row for _, row, _ in kinds)


def redirected(flows: pl.DataFrame, rows: NDArray[np.integer]) -> Mask:
    """Which of the rows `is_redirected` tells."""
    dialled, answered = (
        [flows[f"{end}_{half}"].to_numpy().take(rows) for half in ("lo", "hi")] for end in ("dst", "backend")
    )
    found: Mask = np.logical_or.reduce([one != other for one, other in zip(dialled, answered, strict=True)])
    return found


def is_redirected() -> pl.Expr:
    """Whether the packets went to another address than the one dialled."""
    return (pl.col("backend_lo") != pl.col("dst_lo")) | (pl.col("backend_hi") != pl.col("dst_hi"))
