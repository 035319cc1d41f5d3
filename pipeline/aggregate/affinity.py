"""Session affinity, kept or broken: where a client's next connection went, by the client's last one before it.

A client is a source address as one node sees it, for each node that balances keeps its own memory of clients. A
connection within the Service's `timeoutSeconds` of the client's one before is `kept` where it went to the same
endpoint, `moved` where it did not and the first endpoint was not ready any more, and `broken` elsewhere.

Connections are judged when event time is HOLD_NS past them, in the order in which they began. The invariant: batches
that are less late than that may come in any order; what is later is not judged.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..attribution.services import is_redirected
from ..catalog import SERVICE
from ..inventory.snapshot import Snapshot
from ..inventory.spans import END
from ..kept import Frames, fits, rows_of
from .event_time import Newest
from .samples import Samples
from .service_ports import ServicePorts
from .totals import Totals
from .views import Plain

HOLD_NS: Final = 30 * 10**9
MAX_CLIENTS: Final = 200_000
"""Clients of sticky Services that are remembered at most, some 12 MB; those who called least lately are forgotten."""

_CLIENT: Final = ("number", "node", "src_hi", "src_lo")
_BACKEND: Final = ("backend_hi", "backend_lo", "backend_port")
_CALLS: Final = pl.Schema(
    {
        "number": pl.UInt32,
        "node": pl.String,
        "src_hi": pl.UInt64,
        "src_lo": pl.UInt64,
        "start": pl.Int64,
        "backend_hi": pl.UInt64,
        "backend_lo": pl.UInt64,
        "backend_port": pl.UInt16,
    }
)


_SETTLED: Final = pl.Schema({"ns": pl.Int64})


class Affinity:
    """Each client's last connection to each sticky Service port, and those that are not judged yet."""

    def __init__(self, ports: ServicePorts, newest: Newest, max_clients: int = MAX_CLIENTS) -> None:
        self._ports = ports
        self._max_clients = max_clients
        self.totals = Totals(("number", "affinity"), (*SERVICE, "affinity"), ("connections",))
        self._view = Plain("flowatlas_service_affinity_connections_total", self.totals, "connections")
        self._newest = newest
        self._settled_ns = 0
        self._waiting = [pl.DataFrame(schema=_CALLS)]
        self._last = pl.DataFrame(schema=_CALLS)
        self._timeouts = pl.DataFrame(schema={"number": pl.UInt32, "timeout_ns": pl.Int64})
        self._snapshot: Snapshot | None = None
        self._declared: pl.DataFrame | None = None

    def use(self, snapshot: Snapshot) -> None:
        """Take the Services and endpoints of `snapshot` from now on."""
        self._snapshot = snapshot
        declared = snapshot.tracked["service_ports"]
        if declared is not self._declared:
            self._declared = declared
            sticky = declared.filter(pl.col("affinity_s") > 0, pl.col("until") == END)
            timeouts = sticky.select(self._ports.numbered(sticky), timeout_ns=pl.col("affinity_s") * 10**9)
            self._timeouts = timeouts.unique("number", maintain_order=True)

    @property
    def is_asked_for(self) -> bool:
        """Whether the clients of any Service stay."""
        return not self._timeouts.is_empty()

    def is_sticky(self, numbers: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Which numbers are of Service ports whose clients stay."""
        found: NDArray[np.bool_] = np.isin(numbers, self._timeouts["number"].to_numpy())
        return found

    def add(self, dialled: pl.DataFrame) -> None:
        """Take in connections to sticky Service ports, with their `number`, and judge what is settled by now."""
        if not self.is_asked_for:
            return
        if dialled.height:
            calls = dialled.filter(is_redirected(), pl.col("start") > self._settled_ns)
            self._waiting.append(
                calls.select(pl.col("node").cast(pl.String) if name == "node" else name for name in _CALLS)
            )
        self.settle(self._newest.ns - HOLD_NS)

    def settle(self, until_ns: int) -> None:
        """Judge the connections that began by then; what comes later and began before is not judged any more."""
        if until_ns <= self._settled_ns:
            return
        self._settled_ns = until_ns
        waiting = pl.concat(self._waiting)
        due = waiting.filter(pl.col("start") <= until_ns)
        self._waiting = [waiting.filter(pl.col("start") > until_ns)]
        if due.is_empty():
            return
        calls = pl.concat(
            [self._last.with_columns(is_due=pl.lit(value=False)), due.with_columns(is_due=pl.lit(value=True))]
        )
        calls = calls.sort(*_CLIENT, "start", *_BACKEND)
        self.totals.add(self._judged(calls), self._name)
        self._remember(calls)

    def numbers(self) -> pl.Series:
        """The Service ports under which anything is kept."""
        return pl.concat([calls["number"] for calls in (self._last, *self._waiting)])

    def renumber(self, numbers: pl.Series) -> None:
        """Service ports have new numbers: `numbers` has them by those of before."""
        self._last, *self._waiting = (
            calls.with_columns(numbers[calls["number"]]) for calls in (self._last, *self._waiting)
        )
        self._declared = None

    def state(self) -> Frames:
        """The clients' last connections, those that are not judged yet, and until when they are."""
        self._waiting = [pl.concat(self._waiting)]
        settled = pl.DataFrame({"ns": [self._settled_ns]}, schema=_SETTLED)
        return {"waiting": self._waiting[0], "last": self._last, "settled": settled}

    def restore(self, frames: Frames) -> int:
        """Take up clients; the numbers of Service ports are restored before them."""
        if not fits(frames, waiting=_CALLS, last=_CALLS, settled=_SETTLED):
            return rows_of(frames)
        self._waiting, self._last = [frames["waiting"]], frames["last"]
        self._settled_ns = frames["settled"].item()
        return 0

    def samples(self) -> list[Samples]:
        """The metric, of what is judged."""
        return [self._view.samples()]

    def _judged(self, calls: pl.DataFrame) -> pl.DataFrame:
        """Connections by number and affinity."""
        is_same_client = pl.all_horizontal(pl.col(name) == pl.col(name).shift(1) for name in _CLIENT)
        before = [pl.col(name).shift(1).alias(f"before_{name}") for name in ("start", *_BACKEND)]
        pairs = (
            calls.lazy()
            .with_columns(*before, is_next=is_same_client.fill_null(value=False))
            .filter("is_next", "is_due")
            .join(self._timeouts.lazy(), on="number")
            .filter(pl.col("start") - pl.col("before_start") <= pl.col("timeout_ns"))
            .with_columns(is_kept=pl.all_horizontal(pl.col(name) == pl.col(f"before_{name}") for name in _BACKEND))
            .collect()
        )
        left = pairs.filter(~pl.col("is_kept")).with_row_index("row")
        had_ready = pl.col("row").is_in(self._rows_ready_before(left).implode())
        counts = {"kept": pairs.filter("is_kept"), "broken": left.filter(had_ready), "moved": left.filter(~had_ready)}
        return pl.concat(
            frame.group_by("number").agg(connections=pl.len().cast(pl.UInt64)).with_columns(affinity=pl.lit(word))
            for word, frame in counts.items()
        )

    def _rows_ready_before(self, left: pl.DataFrame) -> pl.Series:
        """The rows of connections for which the endpoint of the one before was ready when they began."""
        assert self._snapshot is not None  # noqa: S101 - there are no timeouts before the first snapshot
        ready = self._snapshot.backends.filter("is_ready").select(
            self._ports.number(),
            pl.col("addr_hi").alias("before_backend_hi"),
            pl.col("addr_lo").alias("before_backend_lo"),
            pl.col("port").alias("before_backend_port"),
            "since",
            "until",
        )
        held = left.join(ready, on=["number", *(f"before_{name}" for name in _BACKEND)])
        return held.filter(pl.col("since") <= pl.col("start"), pl.col("start") < pl.col("until"))["row"].unique()

    def _remember(self, calls: pl.DataFrame) -> None:
        """Keep each client's last connection while it can matter."""
        last = calls.unique(_CLIENT, keep="last", maintain_order=True).join(self._timeouts, on="number")
        alive = last.filter(pl.col("start") + pl.col("timeout_ns") >= self._settled_ns).select(_CALLS.names())
        self._last = alive.top_k(self._max_clients, by="start") if alive.height > self._max_clients else alive

    def _name(self, ids: pl.DataFrame) -> pl.DataFrame:
        labels = self._ports.labels
        return ids.select(*(pl.lit(labels[name]).gather(pl.col("number")).alias(name) for name in SERVICE), "affinity")
