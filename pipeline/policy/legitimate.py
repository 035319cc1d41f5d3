"""Which recorded connections a suggested policy must let through, and which ones it need not, with the reason.

Attempts that failed are no reason to allow anything, nor is what the policies of today deny, nor what comes from a
workload that a person rules out. The invariant: whatever is left out is counted under a reason.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import polars as pl

from ..attribution.policies import Policies
from .record import established

PROTOCOLS: Final = (6, 17, 132)
"""TCP, UDP and SCTP: what a NetworkPolicy can name."""

INCLUDABLE: Final = ("denied", "refused", "no_reply", "no_reply/udp")

RULED_OUT: Final = "from or to a workload that is ruled out"
DENIED: Final = "denied by the policies of today"
FAILED: Final = "never answered, or refused"
OWN_NODE: Final = "from the pod's own node, which is always let in"
NO_PORTS: Final = "of a protocol that a NetworkPolicy cannot name"


def sorted_out(
    pairs: pl.DataFrame, policies: Policies, include: Collection[str] = (), exclude: Collection[str] = ()
) -> pl.DataFrame:
    """Pairs with `counted` (legitimate connections) and `left_out` (the reason where there are none; null else).

    `include` are words of `INCLUDABLE`, `exclude` workloads as NAMESPACE/WORKLOAD.
    """
    counted = established()
    if "refused" in include:
        counted += pl.col("refused")
    if "no_reply" in include:
        counted += pl.col("no_reply")
    elif "no_reply/udp" in include:
        counted += pl.when(pl.col("protocol") == 17).then("no_reply").otherwise(0)
    is_denied = policies.judgement(pairs).rows["verdict"] == "denied"
    if "denied" in include:
        is_denied = pl.repeat(False, pairs.height, dtype=pl.Boolean, eager=True)
    sides = [pl.concat_str(f"{side}_namespace", pl.lit("/"), f"{side}_workload") for side in ("source", "destination")]
    is_ruled_out = pl.any_horizontal(side.is_in(list(exclude)) for side in sides)
    left_out = (
        pl.when(~pl.col("protocol").is_in(PROTOCOLS))
        .then(pl.lit(NO_PORTS))
        .when("from_own_node")
        .then(pl.lit(OWN_NODE))
        .when(is_ruled_out)
        .then(pl.lit(RULED_OUT))
        .when(is_denied)
        .then(pl.lit(DENIED))
        .when(counted <= 0)
        .then(pl.lit(FAILED))
    )
    return pairs.with_columns(counted=counted.cast(pl.Int64), left_out=left_out)


def reasons(pairs: pl.DataFrame) -> pl.DataFrame:
    """Of `sorted_out`: `left_out`, `pairs`, `connections`, the most first."""
    return (
        pairs.filter(pl.col("left_out").is_not_null())
        .group_by("left_out")
        .agg(pairs=pl.len(), connections=pl.col("connections").sum())
        .sort("connections", "left_out", descending=[True, False])
    )
