"""What a pipeline's memory is: its level, its peaks, its slope, who holds it, and what giving back costs.

`python -m tests.bench.bench_memory [SECONDS [RATE [KIND]]]` (30, 100,000, each kind in turn): the cluster of
`bench_live` and RATE of its flows a second in 200 batches, in four polls; published, put into a snapshot and scraped
each second. No bus is there, so it is the pipeline alone that is told of, and a busy machine changes little. KIND is
whose settings the allocators have: `own` of `flowatlas pipeline`, or `none` but their libraries'. Prints one JSON line
a figure (MB are 10^6 bytes): who holds what, by the way from the engine to it, and what of it came since the warm-up,
tells where a slope is from. It fails where what is held grows for certain, in ten minutes and more.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from pipeline.cli.allocators import give_back
from tests.bench.figures import show

SECONDS: Final = 30
RATE: Final = 100_000
POLLS: Final = 4
"""A second."""
WARM: Final = 0.25
"""So much of the time passes before what is held is taken to be steady, 600 s at most: that is the longest window of
event time."""
LEAST_SLOPE_SECONDS: Final = 600
MOST_SLOPE: Final = 1.0
"""MB an hour."""
LEAST_MB: Final = 0.5
"""Who holds less is not told of."""
KINDS: Final = ("own", "none")


def main() -> None:
    seconds, rate = (*map(int, sys.argv[1:3]), *(SECONDS, RATE)[len(sys.argv[1:3]) :])
    if len(sys.argv) > 3:
        run(sys.argv[3], seconds, rate)
        return
    for kind in KINDS:
        subprocess.run([sys.executable, "-m", "tests.bench.bench_memory", str(seconds), str(rate), kind], check=True)


def run(kind: str, seconds: int, rate: int) -> None:
    """Be a pipeline for so long, and say what it took."""
    if kind == KINDS[0]:
        give_back(os.environ)
    import polars as pl  # not before

    from pipeline.bus import Message, Places
    from pipeline.config import PipelineConfig
    from pipeline.engine import Engine
    from pipeline.outputs.publication import Publication
    from pipeline.snapshots.folder import SnapshotFolder
    from tests.bench import bench_polls
    from tests.bench.bench_pipeline import MemoryReader
    from tests.bench.holdings import holdings

    logging.disable(logging.WARNING)  # what policies have against generated flows is no finding
    pl.Config.set_engine_affinity("in-memory")  # as `flowatlas pipeline` does
    libraries = memory("VmRSS")
    state = bench_polls.cluster_state()
    with_state = memory("VmRSS")
    warm = min(int(WARM * seconds), 600)
    publication, stop = Publication(), threading.Event()
    pipe, theirs = multiprocessing.Pipe(duplex=False)
    sender = multiprocessing.get_context("spawn").Process(target=send, args=(theirs, seconds, rate), daemon=True)

    class Live(MemoryReader):
        """Brings a quarter of a second's batches a poll, and looks at the process once a second."""

        def __init__(self) -> None:
            super().__init__()
            self.polls = 0
            self.levels: list[float] = []
            self.peaks: list[float] = []
            self.held = holdings({})

        def poll(self, timeout_s: float) -> list[Message]:
            """The next one."""
            second, quarter = divmod(self.polls, POLLS)
            if quarter == 0:
                publication.gzipped()
                self.levels.append(memory("VmRSS"))
                self.peaks.append(memory("VmHWM"))
                if second == warm:
                    self.held = seen()
                Path("/proc/self/clear_refs").write_text("5")  # a peak begins anew (proc_pid_clear_refs(5))
            self.polls += 1
            if self.polls <= seconds * POLLS:
                self.fill(pipe.recv())
            else:
                stop.set()
            return super().poll(timeout_s)

        def places(self) -> Places:
            """How many polls there were."""
            return {"topic": {"0": self.polls}}

    def seen() -> Any:
        gc.collect()
        return holdings({"engine": engine, "publication": publication, "state": state})

    with tempfile.TemporaryDirectory() as folder:
        reader = Live()
        config = PipelineConfig(bus="file:///unused", state=Path("unused"))
        snapshots = SnapshotFolder(Path(folder), "bench")
        engine = Engine(config, reader, lambda _: state, publication, folder=snapshots)
        sender.start()
        if engine.run(stop) != 0:
            raise AssertionError("it did not end well")
        sender.kill()
    used = resource.getrusage(resource.RUSAGE_SELF)
    held = seen()

    levels = reader.levels[warm:]
    told = {"allocators": kind, "flows a second": rate, "seconds": seconds}
    at_first = {"libraries": libraries, "and the cluster": with_state}
    show("memory_level_mb", median(levels), "MB", {**told, **at_first, "seen": round(held.total() / 1e6, 1)})
    show("memory_peak_mb", max(reader.peaks[warm:]), "MB", {**told, "target": 350, "at the start": max(reader.peaks)})
    processor = {**told, "of it the kernel's": round(used.ru_stime, 2)}
    show("memory_processor_seconds", used.ru_utime + used.ru_stime, "s", processor)
    if len(levels) >= LEAST_SLOPE_SECONDS:
        slope, error = slope_of(levels)
        against = {**told, "target": MOST_SLOPE, "standard error": round(error, 2), "of seconds": len(levels)}
        show("memory_slope_mb_per_hour", slope, "MB/h", against)
    for (way, what), size in held.most_common():
        grown = size - reader.held[way, what]
        if max(size, 10 * grown) > LEAST_MB * 1e6:
            show("memory_held_mb", size / 1e6, "MB", {"by": way, "as": what, "grown": round(grown / 1e6, 2)})
    if len(levels) >= LEAST_SLOPE_SECONDS and slope - 3 * error > MOST_SLOPE:
        raise AssertionError("memory grows")


def slope_of(levels: Sequence[float]) -> tuple[float, float]:
    """MB an hour of levels of each second, and the standard error of that. Levels of a minute are one, by their mean,
    for those of neighbouring seconds say much the same."""
    minutes = np.array(levels[: len(levels) // 60 * 60]).reshape(-1, 60).mean(axis=1)
    coefficients, covariance = np.polyfit(np.arange(len(minutes)), minutes, 1, cov=True)
    return 60 * float(coefficients[0]), 60 * float(np.sqrt(covariance[0, 0]))


def send(pipe: Connection, seconds: int, rate: int) -> None:
    """Make what the nodes ship, a poll at a time."""
    from tests.bench import bench_polls, history

    sent = bench_polls.shipped(rate // history.NODES)
    for _ in range(seconds * POLLS):
        pipe.send([next(sent) for _ in range(history.NODES // POLLS)])


def memory(what: str) -> float:
    """MB of this process, by the name that the kernel has for them (proc_pid_status(5))."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return round(int(found[1]) * 1024 / 1e6, 1) if found else 0.0


if __name__ == "__main__":
    main()
