"""A spool before a bus that can be told what to do, for tests of what lies on the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from collector.errors import TransientError
from collector.metrics import Metrics
from collector.schema import Batch
from collector.sinks import Settled
from collector.sinks.spool import SpoolSink
from tests.pipeline import batches_for_tests

EPOCH = 1_790_000_000_000_000_000


def batch(seq: int, *, rows: int = 2) -> Batch:
    return batches_for_tests.batch(epoch=EPOCH, seq=seq, rows=rows)


class Bus:
    """A bus that can be away, refuse, or keep its answer to itself."""

    def __init__(self, on_settled: Settled) -> None:
        self.on_settled = on_settled
        self.is_there = self.accepts = self.answers = True
        self.got: list[int] = []
        self.kept: list[Batch] = []
        self.unanswered: list[Batch] = []
        self.stopped = 0

    def start(self) -> None:
        if not self.is_there:
            raise TransientError("nobody answers")

    def send(self, batch: Batch) -> None:
        if not self.answers:
            self.unanswered.append(batch)
            return
        if self.accepts:
            self.got.append(batch.seq)
            self.kept.append(batch)
        self.on_settled(batch, self.accepts)

    def flush(self, timeout_s: float) -> bool:
        return True

    def stop(self) -> None:
        self.stopped += 1
        for batch in self.unanswered:
            self.on_settled(batch, False)
        self.unanswered.clear()


class Rig:
    def __init__(self, folder: Path, limit_bytes: int = 1 << 20, prepare: Callable[[Bus], None] = lambda bus: None):
        self.metrics = Metrics()
        self.bus: Bus

        def make(on_settled: Settled) -> Bus:
            self.bus = Bus(on_settled)
            prepare(self.bus)
            return self.bus

        self.sink = SpoolSink(folder, self.metrics, limit_bytes, make)
        self.sink.start()

    def lost(self, reason: str) -> float:
        return self.metrics.value("lost_rows_total", table="flows", reason=reason)


def files(folder: Path) -> list[Path]:
    return sorted((folder / "flows").glob("*.seg"))


def away(bus: Bus) -> None:
    bus.is_there = False
