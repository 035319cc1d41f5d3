"""The pipeline on one core: messages as the bus holds them to totals, over a generated history of five million flows.

`python tests/bench/bench_pipeline.py [FLOWS]`; run with POLARS_MAX_THREADS=1 to measure one core. Every message is
checked and decoded, attributed, counted once, added to all metrics; the last figure also writes the history. Prints one
JSON line a figure. The history is made between the measurements and is in none of them.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median

from collector.schema import Batch
from pipeline.bus import Message
from pipeline.config import PipelineConfig
from pipeline.engine import Engine
from pipeline.inventory import snapshot
from pipeline.outputs.lake import Lake
from pipeline.outputs.publication import Publication
from pipeline.state import ClusterState
from tests.bench import history
from tests.bench.figures import show

POLL_BATCHES = 10
"""Batches taken in one go: 200,000 flows, some 4 MB."""
TARGET = 1_000_000
"""NetObserv's flowlogs-pipeline on one core, as measured for the design."""
LAKE_SHARE = 5
"""The history is measured on one part in this many of the flows."""


class MemoryReader:
    """A bus that holds one poll's messages; `fill` it before each step."""

    def __init__(self) -> None:
        self._messages: list[Message] = []

    def fill(self, batches: list[Batch]) -> None:
        """Let the next poll bring these."""
        self._messages = [
            Message(b.topic, b.node, b.seq, b.key, b.headers(), b.value, origin=f"{b.node}/{b.seq}") for b in batches
        ]

    def start(self) -> None:
        """Nothing to open."""

    def poll(self, timeout_s: float) -> list[Message]:
        """What was filled in."""
        messages, self._messages = self._messages, []
        return messages

    def commit(self) -> None:
        """Nothing to remember."""

    def caught_up(self) -> bool:
        """Always, between two fillings."""
        return True

    def quarantine(self, message: Message, reason: str) -> None:
        """A generated message is never unsound."""
        raise AssertionError(f"{message.origin}: {reason}")

    def stop(self) -> None:
        """Nothing to close."""


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000
    state = ClusterState(snapshot.build(history.cluster()), {})
    config = PipelineConfig(bus="file:///unused", state=Path("unused"))

    publication = Publication()
    reader = MemoryReader()
    engine = Engine(config, reader, lambda _: state, publication)
    rates, wire_bytes = measured(engine, reader, rows)
    against = {"target": TARGET}
    show("pipeline_flows_per_second", median(rates), "flows/s", against)
    show("wire_bytes_per_flow", wire_bytes / rows, "bytes", "IPC in one zstd frame, random ids and times")

    engine.publish()
    began = time.perf_counter()
    text = publication.text()
    show("pipeline_scrape_seconds", time.perf_counter() - began, "s", f"{text.count(b'{')} series, no label known")

    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder))
        lake.start()
        reader = MemoryReader()
        engine = Engine(config, reader, lambda _: state, Publication(), lake)
        rates, _ = measured(engine, reader, rows // LAKE_SHARE)
        show("pipeline_with_history_flows_per_second", median(rates), "flows/s", "the same, and Parquet on disk")


def measured(engine: Engine, reader: MemoryReader, rows: int) -> tuple[list[float], int]:
    """Flows a second of each step, and the size of all messages."""
    rates, size = [], 0
    for batches in polls(history.batches(rows)):
        reader.fill(batches)
        began = time.perf_counter()
        engine.step(0)
        rates.append(sum(batch.rows for batch in batches) / (time.perf_counter() - began))
        size += sum(len(batch.value) for batch in batches)
    began = time.perf_counter()
    engine.drain(60)
    rates[-1] = batches[-1].rows / (batches[-1].rows / rates[-1] + time.perf_counter() - began)
    return rates, size


def polls(batches: Iterator[Batch]) -> Iterator[list[Batch]]:
    """The batches, POLL_BATCHES at a time."""
    while taken := list(islice(batches, POLL_BATCHES)):
        yield taken


if __name__ == "__main__":
    main()
