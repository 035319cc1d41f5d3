"""The pipeline on one core: messages as the bus holds them to totals, over a generated history of five million flows.

`python tests/bench/bench_pipeline.py [FLOWS]`; run with POLARS_MAX_THREADS=1 to measure one core. Every message is
checked and decoded, attributed, judged, counted once, added to all metrics; then a part of it with the history written
too, and under policies, routes and a mesh. Prints one JSON line a figure, and one a stage: what share of the time is
spent there, so that what grows is seen. Seconds are the processor's and not the clock's, so that what else the machine
does counts for little; with one thread both are the same on an idle machine but for the disk. The history of flows is
made between the measurements and is in none of them. Nodes ship in turn, so until each has come the flows of a poll
are between pairs of workloads that were not met before; the figures `settled` are of the same nodes' next flows, as in
a pipeline that has run for a while.
"""

from __future__ import annotations

import logging
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import median

import polars as pl

from collector.schema import Batch
from pipeline.attribution import attribute
from pipeline.bus import Message, Places
from pipeline.config import PipelineConfig
from pipeline.decode import decode
from pipeline.engine import Engine
from pipeline.inventory import snapshot
from pipeline.outputs.lake import Lake
from pipeline.outputs.publication import Publication
from pipeline.state import ClusterState
from tests.bench import history
from tests.bench.figures import show
from tests.bench.governed import governed, touched

POLL_BATCHES = 10
"""Batches taken in one go: 200,000 flows, some 4 MB."""
TARGET = 1_000_000
"""NetObserv's flowlogs-pipeline on one core, as measured for the design."""
HISTORY_TARGET = 400_000
PART = 2
"""All but the first figure are measured on one part in this many of the flows."""
STAGE = re.compile(rb'^flowatlas_pipeline_stage_seconds_total{stage="(\w+)"} (\S+)$', re.MULTILINE)


class MemoryReader:
    """A bus that holds one poll's messages; `fill` it before each step."""

    def __init__(self) -> None:
        self._messages: list[Message] = []

    def fill(self, batches: list[Batch]) -> None:
        """Let the next poll bring these."""
        self._messages = [message_of(batch) for batch in batches]

    def start(self, places: Places | None = None) -> None:
        """Nothing to open."""

    def places(self) -> Places:
        """Nowhere."""
        return {}

    def poll(self, timeout_s: float) -> list[Message]:
        """What was filled in."""
        messages, self._messages = self._messages, []
        return messages

    def mark(self) -> object:
        """Nothing to remember."""
        return None

    def commit(self, mark: object = None) -> None:
        """Nothing to remember."""

    def lag(self) -> dict[str, int]:
        """Nothing waits."""
        return {}

    def lost(self) -> dict[str, int]:
        """Nothing."""
        return {}

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
    pl.Config.set_engine_affinity("in-memory")  # as `flowatlas pipeline` does
    logging.disable(logging.WARNING)  # what policies have against generated flows is no finding
    state = ClusterState(snapshot.build(history.cluster()), {})
    config = PipelineConfig(bus="file:///unused", state=Path("unused"))

    publication = Publication()
    reader = MemoryReader()
    engine = Engine(config, reader, lambda _: state, publication)
    rates, mean, wire_bytes = measured(engine, reader, rows)
    against: dict[str, object] = {"target": TARGET}
    show("pipeline_flows_per_second", median(rates), "flows/s", against)
    show("pipeline_mean_flows_per_second", mean, "flows/s", "the start, publishing and the end too")
    show("wire_bytes_per_flow", wire_bytes / rows, "bytes", "IPC in one zstd frame, random ids and times")
    show_settled("pipeline", engine, reader, rows // PART)
    show_stages("pipeline", engine, publication)

    engine.publish()
    began = time.process_time()
    text = publication.text()
    show("pipeline_scrape_seconds", time.process_time() - began, "s", f"{text.count(b'{')} series, no label known")

    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder))
        lake.start()
        reader, publication = MemoryReader(), Publication()
        engine = Engine(config, reader, lambda _: state, publication, lake)
        _, mean, _ = measured(engine, reader, rows // PART)
        against = {"target": HISTORY_TARGET, "with": "Delta tables on disk, every file's writing in it"}
        show("pipeline_with_history_flows_per_second", mean, "flows/s", against)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.parquet"))
        show_stages("pipeline_with_history", engine, publication)
        show("history_bytes_per_flow", size / (rows // PART), "bytes", "random ids and times")
        _, mean, _ = measured(engine, reader, rows // PART, is_next=True)
        show("pipeline_with_history_settled_flows_per_second", mean, "flows/s", "every file's writing in it")

    objects, epochs = governed()
    state = ClusterState(snapshot.build(objects), {}, epochs=epochs)
    reader, publication = MemoryReader(), Publication()
    engine = Engine(config, reader, lambda _: state, publication)
    rates, _, _ = measured(engine, reader, rows // PART)
    few = pl.concat(decode(message_of(batch)).frame for batch in history.batches(POLL_BATCHES * 20_000, seed=2))
    shares = touched(attribute(few, state.snapshot))
    against = {"policies": len(epochs[0].objects), "share_of_flows": shares}
    show("pipeline_governed_flows_per_second", median(rates), "flows/s", against)
    show_settled("pipeline_governed", engine, reader, rows // PART)
    show_stages("pipeline_governed", engine, publication)


def message_of(batch: Batch) -> Message:
    """A batch as the bus has it."""
    return Message(batch.topic, batch.node, batch.seq, batch.key, batch.headers(), batch.value)


def show_settled(name: str, engine: Engine, reader: MemoryReader, rows: int) -> None:
    """How fast the next flows go through of nodes that came before."""
    rates, _, _ = measured(engine, reader, rows, is_next=True)
    show(f"{name}_settled_flows_per_second", median(rates), "flows/s", "pairs that were met before")


def show_stages(name: str, engine: Engine, publication: Publication) -> None:
    """One line a stage that took any time: its share of all stages' time."""
    engine.publish()
    seconds = {stage.decode(): float(value) for stage, value in STAGE.findall(publication.text())}
    for stage, spent in sorted(seconds.items(), key=lambda item: -item[1]):
        if spent:
            show(f"{name}_stage_seconds_share", spent / sum(seconds.values()), "ratio", stage)


def measured(
    engine: Engine, reader: MemoryReader, rows: int, *, is_next: bool = False
) -> tuple[list[float], float, int]:
    """Flows a second of each step, of all steps and the draining together, and the size of all messages; of the first
    flows of each node, or of those that come next."""
    rates, seconds, size = [], 0.0, 0
    sent = history.batches(rows, seed=2 if is_next else 1)
    after = rows if is_next else 0  # more than any node has sent
    for batches in polls(replace(batch, seq=batch.seq + after) for batch in sent):
        reader.fill(batches)
        began = time.process_time()
        engine.step(0)
        spent = time.process_time() - began
        rates.append(sum(batch.rows for batch in batches) / spent)
        seconds += spent
        size += sum(len(batch.value) for batch in batches)
    began = time.process_time()
    engine.drain(60)
    return rates, rows / (seconds + time.process_time() - began), size


def polls(batches: Iterator[Batch]) -> Iterator[list[Batch]]:
    """The batches, POLL_BATCHES at a time."""
    while taken := list(islice(batches, POLL_BATCHES)):
        yield taken


if __name__ == "__main__":
    main()
