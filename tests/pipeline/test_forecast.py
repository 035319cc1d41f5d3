"""What is forecast from a history is what the pipeline exposes for the same flows."""

from __future__ import annotations

import polars as pl
import pytest

from pipeline.aggregate.budget import Limit
from pipeline.aggregate.families import families
from pipeline.aggregate.flows import FlowMetrics
from pipeline.cli.main import main
from pipeline.forecast import FORECAST, forecast
from pipeline.outputs.history import HISTORY, history_of
from tests.pipeline.outputs.test_history import Judged, judged

__all__ = ["judged"]  # a fixture


def test_each_metric_has_the_label_sets_and_series_that_the_pipeline_exposes(judged: Judged) -> None:
    flows, snapshot, book = judged
    metrics = FlowMetrics(families())
    metrics.use(snapshot)
    metrics.add(flows)
    exposed = {samples.metric.name: samples for samples in metrics.samples()}
    told = forecast(history_of(flows, snapshot, book).lazy())
    compared = 0
    for name, sets, series in told.select("metric", "label_sets", "series").rows():
        if name in exposed:
            assert (sets, series) == (exposed[name].labels.height, exposed[name].series), name
            compared += sets > 0
    assert compared >= 9


def test_a_limit_folds_what_is_beyond_it(judged: Judged) -> None:
    flows, snapshot, book = judged
    history = history_of(flows, snapshot, book).lazy()
    free, limited = (forecast(history, limit) for limit in (None, Limit(20)))
    assert free["beyond"].sum() == 0
    pairs = limited.row(by_predicate=pl.col("metric") == "flowatlas_connections_total", named=True)
    assert pairs["beyond"] == pairs["label_sets"] - Limit(20).detail > 0


def test_no_flows_make_no_series() -> None:
    told = forecast(HISTORY.to_frame().lazy())
    assert told.schema == FORECAST
    assert told["series"].sum() == 0


def test_the_command_prints_the_sum(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", "forecast", "--lake", "notebooks/data/lake", "-o", "csv"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("metric,cardinality,label_sets,series,beyond\n")
    series = sum(int(line.split(",")[3]) for line in printed.out.splitlines()[1:])
    assert printed.err == f"flowatlas: {series:,} series of metrics that flows tell of\n"
    assert main(["metrics", "forecast", "--lake", "notebooks/data/lake", "--series-max-per-family", "0"]) == 2
