"""Roll-ups of attributed flows: one function a metric family, grouped on ids.

Each takes flows as `pipeline.attribution` leaves them, or their sums, and gives ids and UInt64 measures; names come
later, for few rows. What sums canonical flows without looking at one alone does so over `summed`, a tenth of the rows.
The invariant: what a metric sums, it sums once: canonical, observer and overlay rows never meet in one roll-up.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from collector.schema import OUTCOMES

from ..attribution import arrays
from ..attribution.confidence import REASON
from ..attribution.keyindex import distinct
from ..inventory.snapshot import Snapshot
from .idwords import Words, grouped, packed

FAILURES: Final = ("refused", "reset", "no_reply")
"""Outcomes that are failures. A collector reports one on exactly one row of a connection, so rows are connections."""

_SITE: Final = ("kind", "namespace", "workload", "workload_kind", "node", "zone", "region")
_FAILED: Final = {name: OUTCOMES.index(name) for name in FAILURES}
_COUNTED: Final = ("bytes", "reply_bytes", "packets", "reply_packets", "opened")
CONVERSATION_MEASURES: Final = (*_COUNTED, *FAILURES)

_SUMMED_BY: Final = ("dst_id", "service_id", "via", "protocol")
_ANSWERS: Final = ("egress", "ingress_policy")

Measure = NDArray[np.uint64]

_OBSERVERS: Final = pl.DataFrame(schema={"node": pl.String, "bytes": pl.UInt64})
_OVERLAYS: Final = pl.DataFrame(schema={"node": pl.String, "protocol": pl.UInt8, "bytes": pl.UInt64})
_UNATTRIBUTED: Final = pl.DataFrame(schema={"reason": REASON, "bytes": pl.UInt64})


def workload_ids(snapshot: Snapshot) -> pl.Series:
    """By endpoint id, the least id of an endpoint of the same workload: it stands for the workload in roll-ups."""
    return _workloads_of(snapshot.numbering).ids(snapshot.endpoints)


def ends_as(rows: pl.DataFrame, standing: pl.Series) -> dict[str, pl.Series]:
    """`src_id` and `dst_id` of rows, as what stands for them: `standing` has it by endpoint id."""
    table = standing.to_numpy()
    return {end: pl.Series(table.take(rows[end].to_numpy())) for end in ("src_id", "dst_id")}


class _Workloads:
    """Which endpoint stands for each workload under one numbering, whose endpoints only become more."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, ...], int] = {}
        self._ids: list[int] = []
        self._newest = pl.Series("id", dtype=pl.UInt32)

    def ids(self, endpoints: pl.DataFrame) -> pl.Series:
        """By endpoint id, the endpoint that stands for its workload."""
        if endpoints.height == len(self._newest):
            return self._newest
        new = endpoints.select("namespace", "workload", "workload_kind").slice(len(self._ids))
        for workload in new.iter_rows():
            self._ids.append(self._first.setdefault(workload, len(self._ids)))
        self._newest = pl.Series("id", self._ids[: endpoints.height], dtype=pl.UInt32)
        return self._newest


@lru_cache(maxsize=2)
def _workloads_of(numbering: object) -> _Workloads:
    return _Workloads()


def summed(flows: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame:
    """CONVERSATION_MEASURES of canonical flows, by src_id (standing for its workload on its node), dst_id, service_id,
    via, protocol and, where flows have them, their policies' answers: all that sums depend on."""
    sites = pl.Series(site_ids(snapshot).take(flows["src_id"].to_numpy()))
    ids: dict[str, pl.Series] = {"src_id": sites, **{name: flows[name] for name in _SUMMED_BY}}
    ids |= {name: flows[name] for name in _ANSWERS if name in flows.columns}
    is_counted = arrays.is_code(flows["role"], "canonical")
    numbers, first = distinct(_words(ids, is_counted))
    sums = {measure: np.zeros(first.size, np.uint64) for measure in CONVERSATION_MEASURES}
    for measure, values in measures_of(flows, *_COUNTED).items():
        np.add.at(sums[measure], numbers, values)
    outcomes = arrays.numbers(flows["outcome"])
    failed = np.flatnonzero(outcomes >= min(_FAILED.values()))
    for failure, code in _FAILED.items():
        of_failure = numbers.take(failed[outcomes.take(failed) == code])
        sums[failure] = np.bincount(of_failure, minlength=first.size).astype(np.uint64)
    counted = np.flatnonzero(is_counted.take(first))
    told = arrays.taken(ids, first.take(counted), *ids)
    return told.hstack([pl.Series(name, values.take(counted)) for name, values in sums.items()])


def _words(ids: Mapping[str, pl.Series], is_counted: arrays.Mask) -> Words:
    """The ids of each row as `idwords.packed` has them; those of rows that do not count are all alike."""
    if is_counted.all():
        return packed(ids, list(ids))
    words = packed({"is_counted": pl.Series(is_counted), **ids}, ["is_counted", *ids])
    return [word * is_counted for word in words]


def canonical(flows: pl.DataFrame) -> pl.DataFrame:
    """The flows that count, which may be all of them."""
    is_counted = arrays.is_code(flows["role"], "canonical")
    return flows if is_counted.all() else flows[np.flatnonzero(is_counted)]


def measures_of(frame: pl.DataFrame, *measures: str) -> dict[str, Measure]:
    """Columns of whole numbers as 64-bit ones."""
    return {name: frame[name].to_numpy().astype(np.uint64, copy=False) for name in measures}


@lru_cache(maxsize=2)
def site_ids(snapshot: Snapshot) -> NDArray[np.uint32]:
    """By endpoint id, the least id of an endpoint of the same workload in the same place."""
    return snapshot.endpoints.select(pl.col("id").min().over(_SITE))["id"].to_numpy()


def both_ways(flows: pl.DataFrame) -> Measure:
    """Bytes both ways, by row."""
    sent = measures_of(flows, "bytes", "reply_bytes")
    return sent["bytes"] + sent["reply_bytes"]


def observers(flows: pl.DataFrame) -> pl.DataFrame:
    """Bytes both ways of observer rows, by node."""
    rows = np.flatnonzero(arrays.is_code(flows["role"], "observer"))
    if not rows.size:
        return _OBSERVERS
    groups, sums = _summed_bytes(flows, rows, ("node",))
    return pl.DataFrame({"node": groups["node"].cast(pl.String), "bytes": sums})


def overlays(flows: pl.DataFrame, nodes: pl.Series) -> pl.DataFrame:
    """Bytes both ways of tunnel packets, by node and protocol; `nodes` is the node's name for each endpoint id.

    Both nodes of a tunnel see the same outer flow: the one that opened it counts.
    """
    rows = np.flatnonzero(arrays.is_code(flows["role"], "overlay"))
    if not rows.size:
        return _OVERLAYS
    groups, sums = _summed_bytes(flows, rows, ("src_id", "node", "protocol"))
    seen_on = groups["node"].cast(pl.String)
    told = {"node": seen_on, "protocol": groups["protocol"], "bytes": pl.Series(sums)}
    is_sender = nodes[groups["src_id"]] == seen_on
    return arrays.taken(told, np.flatnonzero(is_sender.to_numpy()), *told)


def _summed_bytes(flows: pl.DataFrame, rows: arrays.Rows, ids: tuple[str, ...]) -> tuple[pl.DataFrame, Measure]:
    """The ids in some rows, a row each, and the bytes both ways of each."""
    seen = arrays.taken(flows, rows, *ids, "bytes", "reply_bytes")
    groups = grouped(seen, ids)
    sums = np.zeros(groups.ids.height, np.uint64)
    np.add.at(sums, groups.numbers, both_ways(seen))
    return groups.ids, sums


def unattributed(flows: pl.DataFrame) -> pl.DataFrame:
    """Bytes both ways of canonical flows whose attribution is ambiguous or unknown, a row a flow with its reason.

    Where only the route is ambiguous, the ends and the Service are told, and the flow is no such one.
    """
    attribution = flows["attribution"]
    is_open = arrays.is_code(attribution, "ambiguous") | arrays.is_code(attribution, "unknown")
    if not is_open.any():
        return _UNATTRIBUTED
    is_open &= arrays.is_code(flows["role"], "canonical") & ~arrays.is_code(flows["reason"], "ambiguous_route")
    told = arrays.taken(flows, np.flatnonzero(is_open), "reason", "bytes", "reply_bytes")
    return pl.DataFrame([told["reason"], pl.Series("bytes", both_ways(told))])


def of_rows(flows: pl.DataFrame, *measures: str) -> dict[str, Measure]:
    """Measures of flows by row; of a failure, whether the row tells of it."""
    outcomes = flows["outcome"].to_numpy() if set(FAILURES) & {*measures} else np.zeros(0, np.uint8)
    return {
        name: (outcomes == OUTCOMES.index(name)).astype(np.uint64)
        if name in FAILURES
        else measures_of(flows, name)[name]
        for name in measures
    }
