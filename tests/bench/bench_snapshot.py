"""What snapshots cost: flows a second with them and without, and how long 100,000 series take to write and to take up.

`python tests/bench/bench_snapshot.py [FLOWS]`; run with POLARS_MAX_THREADS=1 to measure one core. Both ways count the
same flows in the same process in turns. On a busy machine more snapshots fall on the same work, for they are taken once
a second of the clock: so what one costs the processor is told too, which is its share of a second. Prints one JSON line
a figure.
"""

from __future__ import annotations

import itertools
import logging
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl

from pipeline.bus import Message, Places
from pipeline.config import PipelineConfig
from pipeline.engine import Engine
from pipeline.intake import Intake
from pipeline.inventory import snapshot
from pipeline.outputs.meters import Meters
from pipeline.outputs.publication import Publication
from pipeline.snapshots.folder import SnapshotFolder
from pipeline.snapshots.taking import Snapshots
from pipeline.stages import Stages
from pipeline.state import ClusterState
from tests.bench import history
from tests.bench.bench_pipeline import POLL_BATCHES, message_of
from tests.bench.figures import show

TURNS = 5
SERIES = 100_000
LEAST_RATIO = 0.9
MOST_SECONDS = 0.1
READY_SECONDS = 2.5


class Reel:
    """A bus that brings the same polls once, then says stop."""

    def __init__(self, polls: list[list[Message]], stop: threading.Event) -> None:
        self._polls = iter(polls)
        self._stop = stop
        self._count = 0

    def start(self, places: Places | None = None) -> None:
        """Nothing to open."""

    def poll(self, timeout_s: float) -> list[Message]:
        """The next one."""
        messages = next(self._polls, [])
        self._count += len(messages)
        if not messages:
            self._stop.set()
        return messages

    def places(self) -> Places:
        """How many messages were brought."""
        return {"topic": {"0": self._count}}

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
        """After the last poll."""
        return self._stop.is_set()

    def quarantine(self, message: Message, reason: str) -> None:
        """A generated message is never unsound."""
        raise AssertionError(f"{message.origin}: {reason}")

    def stop(self) -> None:
        """Nothing to close."""


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 3_000_000
    logging.disable(logging.WARNING)  # what the policy log says of generated flows
    pl.Config.set_engine_affinity("in-memory")  # as `flowatlas pipeline` does
    state = ClusterState(snapshot.build(history.cluster()), {})
    batches = iter([message_of(batch) for batch in history.batches(rows)])
    polls = list(iter(lambda: list(itertools.islice(batches, POLL_BATCHES)), []))
    spent: dict[str, list[tuple[float, float]]] = {"with": [], "without": []}
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(TURNS + 1):
            for name in spent if turn % 2 else reversed(spent):
                root = Path(folder) / str(turn)
                seconds = run(polls, state, SnapshotFolder(root, "bench") if name == "with" else None)
                if turn:  # the first warms up
                    spent[name].append(seconds)
                if turn and name == "with":
                    taken.append(max(int(path.stem[-10:]) for path in root.rglob("*.snapshot")))
        for place, kind in enumerate(("clock", "processor")):
            figures = {name: median(seconds[place] for seconds in of) for name, of in spent.items()}
            against = {"target": LEAST_RATIO, "seconds of": kind, "snapshots": median(taken)}
            show("snapshot_throughput_ratio", figures["without"] / figures["with"], "ratio", against)
        cost = (figures["with"] - figures["without"]) / median(taken)
        show("snapshot_processor_seconds", cost, "s", {"target": MOST_SECONDS, "flows": rows})
        show_series(Path(folder) / "series", state)


def run(polls: list[list[Message]], state: ClusterState, folder: SnapshotFolder | None) -> tuple[float, float]:
    """Seconds of the clock and of the processor for all of them."""
    stop = threading.Event()
    config = PipelineConfig(bus="file:///unused", state=Path("unused"))
    engine = Engine(config, Reel(polls, stop), lambda _: state, Publication(), folder=folder)
    began = time.perf_counter(), time.process_time()
    if engine.run(stop) != 0:
        raise AssertionError("it did not end well")
    return time.perf_counter() - began[0], time.process_time() - began[1]


def show_series(root: Path, state: ClusterState) -> None:
    """How long SERIES series take to write, and to take up again."""
    stages, meters, snapshots = parts(root, state)
    snapshots.take_up()
    conversations = stages.kept()["flows/conversations"]
    frames = conversations.state()
    count = SERIES // 6  # bytes and packets both ways, connections, failures
    numbers = pl.Series(np.arange(count))
    labels = pl.DataFrame({name: f"some-{name}-" + numbers.cast(pl.String) for name in frames["labels"].columns})
    values = {name: np.arange(count, dtype=np.uint64) * np.uint64(977) for name in frames["values"].columns}
    conversations.restore({"labels": labels, "values": pl.DataFrame(values)})
    writes = []
    for number in range(TURNS + 1):
        meters.applied("flows", ["node"], [number], [0])
        began = time.perf_counter()
        snapshots.take({"topic": {"0": number}})
        writes.append(time.perf_counter() - began)
    shown = sum(samples.series for samples in stages.samples())
    size = next(iter(root.rglob("*.snapshot"))).stat().st_size
    show("snapshot_write_seconds", median(writes[1:]), "s", {"series": shown, "first": round(writes[0], 3)})
    show("snapshot_bytes", size, "bytes", {"series": shown})
    snapshots.close()
    again, _, successor = parts(root, state)
    began = time.perf_counter()
    successor.take_up()
    again.samples()
    show("snapshot_taken_up_seconds", time.perf_counter() - began, "s", {"series": shown, "target": READY_SECONDS})
    successor.close()


def parts(root: Path, state: ClusterState) -> tuple[Stages, Meters, Snapshots]:
    """What one process has."""
    meters = Meters()
    stages = Stages(PipelineConfig(bus="file:///unused", state=Path("unused")), lambda _: state, meters)
    return stages, meters, Snapshots(SnapshotFolder(root, "bench"), stages, Intake(meters), meters)


if __name__ == "__main__":
    main()
