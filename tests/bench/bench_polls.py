"""What a poll costs: many small batches at once, as a cluster of many nodes ships them, or a few as they come.

`python tests/bench/bench_polls.py`; run with POLARS_MAX_THREADS=1 to measure one core. Each node's look at its kernel
is one batch, so a cluster of 200 nodes at 30,000 flows a second gives 200 batches of 150 rows a second, and a pipeline
that catches up finds hundreds of them in a poll. `bench_pipeline` has batches as large as they may be. Services and
policies are on, as in `bench_live`; no bus is. Prints one JSON line a figure; seconds are the processor's, of the
median poll, once every node has come.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Final

import polars as pl

from collector.schema import Batch
from pipeline.config import PipelineConfig
from pipeline.engine import Engine
from pipeline.inventory import snapshot
from pipeline.inventory.models import Resource, convert
from pipeline.inventory.policy_history import PolicyEpoch
from pipeline.inventory.spans import BEGINNING
from pipeline.outputs.publication import Publication
from pipeline.state import ClusterState
from tests.bench import bench_live, history
from tests.bench.bench_pipeline import MemoryReader
from tests.bench.figures import show
from tests.bench.live_sender import templates

POLLS: Final = (
    (2_000, 150, 400_000),  # catching up
    (200, 150, 400_000),
    (200, 500, None),
    (50, 500, None),  # a quarter of a second at 100,000 flows a second, as they are polled live
    (10, 150, None),
)
"""Batches of a poll, rows of each, and how many flows a second of processor are wanted."""
TURNS: Final = 20
"""Polls that are measured, after each node has come twice."""


def main() -> None:
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else TURNS
    pl.Config.set_engine_affinity("in-memory")  # as `flowatlas pipeline` does
    logging.disable(logging.WARNING)  # what policies have against generated flows is no finding
    state = cluster_state()
    for batches, rows, target in POLLS:
        config = PipelineConfig(bus="file:///unused", state=Path("unused"), window_s=3600)
        reader = MemoryReader()
        engine = Engine(config, reader, lambda _: state, Publication())
        sent = shipped(rows)
        reader.fill(list(islice(sent, 2 * history.NODES)))
        engine.step(0)
        seconds = []
        for _ in range(turns):
            reader.fill(list(islice(sent, batches)))
            began = time.process_time()
            engine.step(0)
            seconds.append(time.process_time() - began)
        spent = median(seconds)
        name = f"poll_of_{batches}_batches_of_{rows}_rows"
        show(f"{name}_seconds", spent, "s", {"least": round(min(seconds), 4), "polls": turns})
        show(f"{name}_flows_per_second", batches * rows / spent, "flows/s", {"target": target})


def cluster_state() -> ClusterState:
    """The cluster of `bench_live` with its policies."""

    def made(item: dict[str, Any]) -> Resource:
        return convert(item["apiVersion"], item["kind"], item)

    objects = [made(item) for item in bench_live.cluster()]
    policies = objects[-bench_live.POLICIES :]
    return ClusterState(snapshot.build(objects), {}, epochs=[PolicyEpoch(BEGINNING, tuple(policies))])


def shipped(rows: int) -> Iterator[Batch]:
    """A batch of each node in turn, every second again."""
    of_nodes = templates(rows)
    second = 0
    while True:
        for node, of_node in enumerate(of_nodes):
            yield of_node.at(f"node{node}", history.EPOCH, second, history.EPOCH + second * 10**9)
        second += 1


if __name__ == "__main__":
    main()
