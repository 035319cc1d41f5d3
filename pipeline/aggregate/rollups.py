"""Roll-ups of attributed flows: one function a metric family, grouped on ids.

Each takes flows as `pipeline.attribution` leaves them, or their sums, and gives ids and UInt64 measures; names come
later, for few rows. What sums canonical flows without looking at one alone does so over `summed`, a tenth of the rows.
The invariant: what a metric sums, it sums once: canonical, observer and overlay rows never meet in one roll-up.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import polars as pl

from collector.schema import OUTCOMES

from ..attribution.roles import ROLES
from ..inventory.snapshot import Snapshot
from .idwords import grouped

FAILURES: Final = ("refused", "reset", "no_reply")
"""Outcomes that are failures. A collector reports one on exactly one row of a connection, so rows are connections."""

_COUNTED: Final = ("bytes", "reply_bytes", "packets", "reply_packets", "opened")
CONVERSATION_MEASURES: Final = (*_COUNTED, *FAILURES)
SERVICE_MEASURES: Final = ("bytes", "reply_bytes", "opened", *FAILURES)

_SUMMED_BY: Final = ("dst_id", "service_id", "via", "protocol")
_ANSWERS: Final = ("egress", "ingress_policy")
_SITE: Final = ("kind", "namespace", "workload", "workload_kind", "node", "zone", "region")
_IS_CANONICAL: Final = pl.col("role") == "canonical"
_BOTH_WAYS: Final = (pl.col("bytes") + pl.col("reply_bytes")).sum().alias("bytes")


def workload_ids(snapshot: Snapshot) -> pl.Series:
    """By endpoint id, the least id of an endpoint of the same workload: it stands for the workload in roll-ups."""
    return _workloads_of(snapshot.numbering).ids(snapshot.endpoints)


class _Workloads:
    """Which endpoint stands for each workload under one numbering, whose endpoints only become more."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, ...], int] = {}
        self._ids: list[int] = []

    def ids(self, endpoints: pl.DataFrame) -> pl.Series:
        """By endpoint id, the endpoint that stands for its workload."""
        new = endpoints.select("namespace", "workload", "workload_kind").slice(len(self._ids))
        for workload in new.iter_rows():
            self._ids.append(self._first.setdefault(workload, len(self._ids)))
        return pl.Series("id", self._ids[: endpoints.height], dtype=pl.UInt32)


@lru_cache(maxsize=2)
def _workloads_of(numbering: object) -> _Workloads:
    return _Workloads()


def summed(flows: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame:
    """CONVERSATION_MEASURES of canonical flows, by src_id (standing for its workload on its node), dst_id, service_id,
    via, protocol and, where flows have them, their policies' answers: all that sums depend on."""
    ids = ["src_id", *_SUMMED_BY, *(name for name in _ANSWERS if name in flows.columns)]
    sites = pl.lit(site_ids(snapshot)).gather(pl.col("src_id")).alias("src_id")
    counted = flows.lazy().filter(_IS_CANONICAL).select(sites, *ids[1:], *_COUNTED, "outcome").collect()
    groups = grouped(counted, ids)
    sums = {measure: np.zeros(groups.ids.height, np.uint64) for measure in CONVERSATION_MEASURES}
    for measure in _COUNTED:
        np.add.at(sums[measure], groups.numbers, counted[measure].cast(pl.UInt64).to_numpy())
    outcomes = counted["outcome"].to_numpy()
    for failure in FAILURES:
        failed = groups.numbers[outcomes == OUTCOMES.index(failure)]
        sums[failure] = np.bincount(failed, minlength=groups.ids.height).astype(np.uint64)
    return groups.ids.with_columns(pl.Series(name, values) for name, values in sums.items()).with_columns(
        role=pl.lit("canonical", dtype=ROLES)
    )


@lru_cache(maxsize=2)
def site_ids(snapshot: Snapshot) -> pl.Series:
    """By endpoint id, the least id of an endpoint of the same workload in the same place."""
    return snapshot.endpoints.select(pl.col("id").min().over(_SITE))["id"]


def conversations(sums: pl.LazyFrame, workloads: pl.Series) -> pl.LazyFrame:
    """CONVERSATION_MEASURES of `summed` by src_id, dst_id (each standing for its workload), service_id and protocol."""
    table = pl.lit(workloads)
    return sums.group_by(
        table.gather(pl.col("src_id")).alias("src_id"),
        table.gather(pl.col("dst_id")).alias("dst_id"),
        "service_id",
        "protocol",
    ).agg(pl.col(CONVERSATION_MEASURES).sum())


def service_endpoints(sums: pl.LazyFrame) -> pl.LazyFrame:
    """SERVICE_MEASURES of `summed` that dialled a Service, by service_id, dst_id, via and protocol.

    The Service metrics are small sums of this one frame.
    """
    return (
        sums.filter(pl.col("service_id").is_not_null())
        .group_by("service_id", "dst_id", "via", "protocol")
        .agg(pl.col(SERVICE_MEASURES).sum())
    )


def observers(flows: pl.LazyFrame) -> pl.LazyFrame:
    """Bytes both ways of observer rows, by node."""
    return flows.filter(pl.col("role") == "observer").group_by(pl.col("node").cast(pl.String)).agg(_BOTH_WAYS)


def overlays(flows: pl.LazyFrame, nodes: pl.Series) -> pl.LazyFrame:
    """Bytes both ways of tunnel packets, by node and protocol; `nodes` is the node's name for each endpoint id.

    Both nodes of a tunnel see the same outer flow: the one that opened it counts.
    """
    is_sender = pl.lit(nodes).gather(pl.col("src_id")) == pl.col("node").cast(pl.String)
    return (
        flows.filter(pl.col("role") == "overlay")
        .filter(is_sender)
        .group_by(pl.col("node").cast(pl.String), "protocol")
        .agg(_BOTH_WAYS)
    )


def unattributed(flows: pl.LazyFrame) -> pl.LazyFrame:
    """Bytes both ways of canonical flows whose attribution is ambiguous or unknown, by reason.

    Where only the route is ambiguous, the ends and the Service are told, and the flow is no such one.
    """
    is_open = pl.col("attribution").is_in(["ambiguous", "unknown"]) & (pl.col("reason") != "ambiguous_route")
    return flows.filter(_IS_CANONICAL & is_open).group_by(pl.col("reason").cast(pl.String)).agg(_BOTH_WAYS)


def measured(measure: str) -> pl.Expr:
    """The UInt64 sum of a measure over the flows of a group; of a failure, the number of its rows."""
    if measure in FAILURES:
        return (pl.col("outcome") == OUTCOMES.index(measure)).sum().cast(pl.UInt64).alias(measure)
    return pl.col(measure).sum().cast(pl.UInt64)
