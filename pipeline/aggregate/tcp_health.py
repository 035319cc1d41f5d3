"""TCP health of attributed flows: connect and round-trip times as histograms, segments sent again as sums.

A connection's times are told by the opener's node and, where that has no collector, the round-trip time by the
answerer's; what was sent again is told by the node of each end. So the invariant: a connect time and a segment count
once, on whatever row they are; of round-trip times those on canonical rows count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl

from ..attribution import arrays, with_labels
from ..catalog import PAIR
from ..inventory.snapshot import Snapshot
from ..kept import Kept
from .histogram import Histogram
from .idwords import Groups, grouped
from .rollups import workload_ids
from .samples import Samples
from .totals import Totals
from .views import Plain

_TIMED: Final = ("dst_id", "service_id")
_TOLD: Final = ("connect_us", "srtt_us", "retransmits")
_US: Final = 1_000_000


class TcpHealthMetrics:
    """The three families. Flows without the columns of TCP health have none."""

    def __init__(self) -> None:
        self._connects = Histogram("flowatlas_tcp_connect_seconds", _TIMED, "connect_us", _US)
        self._round_trips = Histogram("flowatlas_tcp_rtt_seconds", _TIMED, "srtt_us", _US)
        self._resent = Totals(("src_id", "dst_id"), PAIR, ("retransmits",))
        self._view = Plain("flowatlas_tcp_retransmits_total", self._resent, "retransmits")
        self._snapshot: Snapshot | None = None

    def use(self, snapshot: Snapshot) -> None:
        """Take ids to be those of `snapshot` from now on."""
        if self._snapshot is None or snapshot.numbering is not self._snapshot.numbering:
            for totals in (self._connects, self._round_trips, self._resent):
                totals.forget_ids()
        self._snapshot = snapshot

    def add(self, flows: pl.DataFrame) -> None:
        """Add flows attributed under the snapshot in use."""
        snapshot = self._snapshot
        if snapshot is None:
            raise RuntimeError("use(snapshot) comes before add(flows)")
        if not set(_TOLD) <= set(flows.columns):
            return
        connect_us, srtt_us, resent = (flows[column].to_numpy() for column in _TOLD)
        is_told = (connect_us > 0) | (srtt_us > 0) | (resent > 0)
        told = np.flatnonzero(is_told & ~arrays.is_code(flows["role"], "overlay"))
        if not told.size:
            return
        workloads = workload_ids(snapshot).to_numpy()
        ends = arrays.taken(flows, told, "src_id", "dst_id", "service_id", "role")
        destinations = pl.Series(workloads.take(ends["dst_id"].to_numpy()))
        groups = grouped({"dst_id": destinations, "service_id": ends["service_id"]}, _TIMED)
        connect_us, srtt_us, resent = (values.take(told) for values in (connect_us, srtt_us, resent))
        is_timed = (srtt_us > 0) & arrays.is_code(ends["role"], "canonical")
        for histogram, values, is_observed in (
            (self._connects, connect_us, connect_us > 0),
            (self._round_trips, srtt_us, is_timed),
        ):
            observed = np.flatnonzero(is_observed)
            histogram.add_groups(Groups(groups.ids, groups.numbers.take(observed)), values.take(observed), self._name)
        lost = np.flatnonzero(resent)
        if lost.size:
            pairs = {
                "src_id": pl.Series(workloads.take(ends["src_id"].to_numpy().take(lost))),
                "dst_id": pl.Series(destinations.to_numpy().take(lost)),
            }
            self._resent.count(pairs, {"retransmits": resent.take(lost).astype(np.uint64)}, self._name)

    def kept(self) -> Mapping[str, Kept]:
        """Both histograms and the totals."""
        return {"connects": self._connects, "round_trips": self._round_trips, "resent": self._resent}

    def samples(self) -> list[Samples]:
        """The three metrics as they are now."""
        return [self._connects.samples(), self._round_trips.samples(), self._view.samples()]

    def _name(self, ids: pl.DataFrame) -> pl.DataFrame:
        assert self._snapshot is not None  # noqa: S101 - add has checked
        return with_labels(ids.lazy(), self._snapshot).collect()
