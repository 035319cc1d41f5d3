"""Exposition on one core: 100,000 series of 7 labels as Prometheus text, and as a compressed page, anew and as it was.

`python tests/bench/bench_exposition.py [SERIES]`. Prints one JSON line a figure; prometheus_client renders the same
series in the same run for comparison. Seconds are the processor's, so that what else the machine does counts for
little: run it with POLARS_MAX_THREADS=1.
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
from pipeline.outputs.pages import PageMaker
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
    samples = [Samples(METRIC, frame, values)]
    text = Renderer().render(samples)
    against = {"target": TARGET_SECONDS, "prometheus_client": round(client_seconds(frame, values), 3)}
    show("exposition_text_seconds", seconds(lambda: Renderer().render(samples)), "s", against)
    renderer, maker = Renderer(), PageMaker()
    made_s = seconds(lambda: PageMaker().page(renderer.parts(samples)))
    show("exposition_page_seconds", made_s, "s", {"target": TARGET_SECONDS, "gzip": True})
    page = maker.page(renderer.parts(samples))
    show("exposition_unchanged_page_seconds", seconds(lambda: maker.page(renderer.parts(samples))), "s", "gzip")
    about = f"{rows} series of {len(LABELS)} labels"
    show("exposition_bytes", len(text), "bytes", {"gzip": len(page.gzipped), "of": about})


def client_seconds(frame: pl.DataFrame, values: pl.Series) -> float:
    """What prometheus_client takes for the same series."""
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
    """The median processor time of an action."""
    times = []
    for _ in range(runs):
        began = time.process_time()
        action()
        times.append(time.process_time() - began)
    return median(times)


if __name__ == "__main__":
    main()
