"""Collectors and pipelines around a bus that is made to fail, and the ledger that both are held against.

A shipper is a collector's spool and sink without the sources, a taker a pipeline's reader and dedup without the stages
behind them. The invariant of a run is in `reconcile`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, pairwise
from pathlib import Path

from collector.metrics import Metrics
from collector.schema import Batch, parse_headers
from collector.sinks.kafka import KafkaSink
from collector.sinks.spool import SpoolSink
from pipeline.batches import BatchLedger
from pipeline.bus import open_reader
from pipeline.bus.share import Share
from pipeline.errors import TransientError
from tests.pipeline.batches_for_tests import batch

NODES = ("node-a", "node-b", "node-c")
PROGRESS_SECONDS = 90.0
FLUSH_SECONDS = 120.0


class Shipper(threading.Thread):
    """A collector's spool and sink, and a ledger of what it was given."""

    def __init__(self, node: str, url: str, folder: Path, stop: threading.Event) -> None:
        super().__init__(name=node)
        self.node = node
        self.metrics = Metrics()
        self.shipped: dict[tuple[str, int], Batch] = {}
        self._sink = SpoolSink(folder, self.metrics, 1 << 27, lambda told: KafkaSink(url, self.metrics, 1 << 25, told))
        self._stop_it = stop
        self.is_flushed = False

    def run(self) -> None:
        self._sink.start()
        for seq in count():
            if self._stop_it.wait(0.05):
                break
            one = batch(node=self.node, epoch=1, seq=seq, rows=1 + seq % 50)
            self.shipped[self.node, seq] = one
            self._sink.send(one)
        self.is_flushed = self._sink.flush(FLUSH_SECONDS)
        self._sink.stop()


class Taker(threading.Thread):
    """A pipeline's reader and ledger."""

    def __init__(self, url: str, share: Share) -> None:
        super().__init__(name=f"share {share}")
        self.taken: list[tuple[str, int]] = []
        self.rows = self.byte_sum = 0
        self.reader = open_reader(url, "faults", [batch().topic], share=share)
        self.ledger = BatchLedger()
        self.ended = threading.Event()

    def run(self) -> None:
        committed_at = time.monotonic()
        while True:
            try:
                self.reader.start()
                break
            except TransientError:
                time.sleep(0.2)
        while not self.ended.is_set():
            try:
                for message in self.reader.poll(0.2):
                    name = parse_headers(message.headers)
                    if self.ledger.accept(name):
                        self.taken.append((name.node, name.seq))
                        self.rows += name.rows
                        self.byte_sum += name.byte_sum
                if time.monotonic() - committed_at > 0.5:
                    self.reader.commit()
                    committed_at = time.monotonic()
            except TransientError:
                time.sleep(0.1)
        self.reader.stop()


@contextmanager
def under_load(url: str, folder: Path, shares: int = 2) -> Iterator[tuple[list[Shipper], list[Taker]]]:
    """Three nodes ship and `shares` pipelines take, until the block ends; then all that is shipped is waited for."""
    stop = threading.Event()
    shippers = [Shipper(node, url, folder / node, stop) for node in NODES]
    takers = [Taker(url, Share(i, shares)) for i in range(shares)]
    for thread in (*takers, *shippers):
        thread.start()
    try:
        yield shippers, takers
    finally:
        stop.set()
        for shipper in shippers:
            shipper.join(FLUSH_SECONDS + 30)
        wanted = sum(len(shipper.shipped) for shipper in shippers)
        deadline = time.monotonic() + PROGRESS_SECONDS
        while sum(len(taker.taken) for taker in takers) < wanted and time.monotonic() < deadline:
            time.sleep(0.1)
        for taker in takers:
            taker.ended.set()
        for taker in takers:
            taker.join(30)


def await_progress(shippers: Sequence[Shipper], takers: Sequence[Taker]) -> None:
    """Wait until batches that are shipped from now on have been taken, of every node."""
    wanted = {shipper.node: len(shipper.shipped) + 5 for shipper in shippers}
    deadline = time.monotonic() + PROGRESS_SECONDS
    while any(
        sum(node == of for taker in takers for of, _ in list(taker.taken)) < least for node, least in wanted.items()
    ):
        assert time.monotonic() < deadline, "what is shipped does not come"
        time.sleep(0.1)


def reconcile(shippers: Sequence[Shipper], takers: Sequence[Taker], *, in_order: bool = True) -> None:
    """Ledger = taken, to the batch, row and byte; nothing counted as lost; each node at one taker, and in order unless
    a batch may have been given up by the client (after DELIVERY_S), which then comes behind younger ones."""
    assert all(shipper.is_flushed for shipper in shippers)
    shipped = {name: one for shipper in shippers for name, one in shipper.shipped.items()}
    taken = [name for taker in takers for name in taker.taken]
    duplicates = sum(taker.ledger.duplicates.total() for taker in takers)
    print(f"shipped {len(shipped)} batches, taken {len(taken)}, passed over as duplicates {duplicates}")
    assert sorted(taken) == sorted(shipped)
    assert sum(taker.rows for taker in takers) == sum(one.rows for one in shipped.values())
    assert sum(taker.byte_sum for taker in takers) == sum(one.byte_sum for one in shipped.values())
    reasons = ("bus_full", "bus_error", "spool_full", "spool_error")
    assert (
        sum(of.metrics.value("lost_rows_total", table="flows", reason=reason) for of in shippers for reason in reasons)
        == 0
    )
    for node in sorted({of for of, _ in shipped}):
        (mine,) = [taker for taker in takers if any(of == node for of, _ in taker.taken)]
        order = [seq for of, seq in mine.taken if of == node]
        late = sum(later < earlier for earlier, later in pairwise(order))
        assert not in_order or late == 0, f"{late} batches of {node} came behind younger ones"
