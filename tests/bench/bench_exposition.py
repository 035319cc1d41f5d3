"""Exposition on one core: 100,000 series of 7 labels as Prometheus text, with new labels and with known ones.

`python tests/bench/bench_exposition.py [SERIES]`. Prints one JSON line a figure; prometheus_client renders the same
series in the same run for comparison.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import polars as pl
from prometheus_client import CollectorRegistry, Counter, generate_latest

from pipeline.aggregate.samples import Samples
from pipeline.catalog import Metric
from pipeline.outputs.exposition import Renderer
from tests.bench.figures import show

LABELS = (
    "source_namespace",
    "source_workload",
    "destination_namespace",
    "destination_workload",
    "service",
    "protocol",
    "flow_direction",
)
METRIC = Metric("flowatlas_bench_bytes_total", "counter", "bytes", LABELS, "Bytes of a benchmark.")
TARGET_SECONDS = 0.1
RUNS = 9


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    frame = labels(rows)
    values = pl.Series(np.random.default_rng(1).integers(0, 2**48, rows, dtype=np.uint64))
    text = Renderer().render([Samples(METRIC, frame, values)])
    client_s = client_seconds(frame, values)
    cold_s = seconds(lambda: Renderer().render([Samples(METRIC, frame, values)]))
    renderer = Renderer()
    renderer.render([Samples(METRIC, frame, values)])
    warm_s = seconds(lambda: renderer.render([Samples(METRIC, frame, values)]))
    against = {"target": TARGET_SECONDS, "prometheus_client": round(client_s, 3)}
    show("exposition_cold_seconds", cold_s, "s", against)
    show("exposition_warm_seconds", warm_s, "s", against)
    show("exposition_bytes", len(text), "bytes", f"{rows} series of {len(LABELS)} labels")


def client_seconds(frame: pl.DataFrame, values: pl.Series) -> float:
    """How long prometheus_client takes for the same series."""
    registry = CollectorRegistry()
    counter = Counter(METRIC.name, METRIC.help, LABELS, registry=registry)
    for row, value in zip(frame.iter_rows(), values, strict=True):
        counter.labels(*row).inc(value)
    return seconds(lambda: generate_latest(registry), runs=3)


def labels(rows: int) -> pl.DataFrame:
    """Distinct label sets as a busy cluster has them: 40 namespaces, 2,000 workloads, 800 Services."""
    number = pl.int_range(rows, eager=True)
    way = pl.when(number % 2 == 0).then(pl.lit("request")).otherwise(pl.lit("reply"))
    pair = number // 2
    return pl.select(
        pl.format("team-{}", pair % 40).alias("source_namespace"),
        pl.format("frontend-{}", pair % 2000).alias("source_workload"),
        pl.format("team-{}", pair // 40 % 40).alias("destination_namespace"),
        pl.format("backend-{}", pair // 2000).alias("destination_workload"),
        pl.format("service-{}", pair % 800).alias("service"),
        pl.lit("TCP").alias("protocol"),
        way.alias("flow_direction"),
    ).select(LABELS)


def seconds(action: Callable[[], object], runs: int = RUNS) -> float:
    """The median time of an action."""
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return median(times)


if __name__ == "__main__":
    main()
