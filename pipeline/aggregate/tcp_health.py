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
from numpy.typing import NDArray

from ..attribution import arrays, with_labels
from ..attribution.keyindex import GrowingIndex
from ..catalog import PAIR
from ..inventory.snapshot import Snapshot
from ..kept import Kept
from .histogram import Histogram
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
        self._timed = Pairs()
        self._observed = (self._connects.observed(), self._round_trips.observed())
        """Connect and round-trip times by what `_timed` numbers, since somebody asked."""
        self._resent = Totals(("src_id", "dst_id"), PAIR, ("retransmits",))
        self._view = Plain("flowatlas_tcp_retransmits_total", self._resent, "retransmits")
        self._snapshot: Snapshot | None = None

    def use(self, snapshot: Snapshot) -> None:
        """Take ids to be those of `snapshot` from now on."""
        if self._snapshot is None or snapshot.numbering is not self._snapshot.numbering:
            self._settle()
            self._timed = Pairs()
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
        is_inner = ~arrays.is_code(flows["role"], "overlay")
        is_canonical = arrays.is_code(flows["role"], "canonical")
        workloads = workload_ids(snapshot).to_numpy()
        destinations = workloads.take(flows["dst_id"].to_numpy())
        numbers = self._timed.numbers(destinations, arrays.ids(flows["service_id"]))
        for observed, column, is_meant in (
            (self._observed[0], "connect_us", is_inner),
            (self._observed[1], "srtt_us", is_canonical),
        ):
            values = flows[column].to_numpy()
            rows = np.flatnonzero((values > 0) & is_meant)
            observed.add(numbers.take(rows), values.take(rows), len(self._timed))
        resent = flows["retransmits"].to_numpy()
        lost = np.flatnonzero((resent > 0) & is_inner)
        if lost.size:
            pairs = {
                "src_id": pl.Series(workloads.take(flows["src_id"].to_numpy().take(lost))),
                "dst_id": pl.Series(destinations.take(lost)),
            }
            self._resent.count(pairs, {"retransmits": resent.take(lost).astype(np.uint64)}, self._name)

    def _settle(self) -> None:
        """Bring to the histograms what was observed since the last time."""
        if len(self._timed):
            ids = self._timed.ids()
            for histogram, observed in zip((self._connects, self._round_trips), self._observed, strict=True):
                histogram.take(observed, ids, self._name)

    def kept(self) -> Mapping[str, Kept]:
        """Both histograms and the totals."""
        self._settle()
        return {"connects": self._connects, "round_trips": self._round_trips, "resent": self._resent}

    def samples(self) -> list[Samples]:
        """The three metrics as they are now."""
        self._settle()
        return [self._connects.samples(), self._round_trips.samples(), self._view.samples()]

    def _name(self, ids: pl.DataFrame) -> pl.DataFrame:
        assert self._snapshot is not None  # noqa: S101 - add has checked
        return with_labels(ids.lazy(), self._snapshot).collect()


class Pairs:
    """Numbers of pairs of destination (an endpoint that stands for its workload) and Service, from 0."""

    def __init__(self) -> None:
        self._index = GrowingIndex()
        self._known = np.zeros(0, np.uint64)
        """By number, the pair as one number of 64 bits."""

    def __len__(self) -> int:
        return len(self._index)

    def numbers(self, destinations: NDArray[np.uint32], services: NDArray[np.uint32]) -> NDArray[np.int64]:
        """The number of each pair; NO_ID is a Service like others."""
        pairs = destinations.astype(np.uint64)
        pairs <<= np.uint64(32)
        pairs |= services
        numbers = self._index.numbers([pairs]).astype(np.int64)
        if len(self._index) > self._known.size:
            known = np.empty(len(self._index), np.uint64)
            known[: self._known.size] = self._known
            known[numbers] = pairs
            self._known = known
        return numbers

    def ids(self) -> pl.DataFrame:
        """`dst_id` and `service_id`, null where there is none, by number."""
        services = self._known.astype(np.uint32)
        destinations = (self._known >> np.uint64(32)).astype(np.uint32)
        return pl.DataFrame({"dst_id": destinations, "service_id": arrays.nullable(services, services != arrays.NO_ID)})
