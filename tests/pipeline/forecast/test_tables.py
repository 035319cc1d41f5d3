"""What is forecast from a history is what the pipeline exposes for the same flows."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from pipeline.aggregate.budget import LEVELS, limit_of
from pipeline.aggregate.families import families
from pipeline.aggregate.flows import FlowMetrics
from pipeline.aggregate.series import SeriesBudget
from pipeline.cli.main import main
from pipeline.forecast import BY_FAMILY, BY_METRIC, BY_NAMESPACE, forecast
from pipeline.kept import nested
from pipeline.outputs.history import HISTORY, history_of
from tests.pipeline.outputs.test_history import Judged, judged

__all__ = ["judged"]  # a fixture


def budget(most: int, share: float = 0.8) -> SeriesBudget:
    return SeriesBudget(10**6, limit_of(most, tuple(LEVELS)), 0, share)


def test_each_metric_has_the_label_sets_and_series_that_the_pipeline_exposes(judged: Judged) -> None:
    flows, snapshot, book = judged
    metrics = FlowMetrics(families())
    metrics.use(snapshot)
    metrics.add(flows)
    exposed = {samples.metric.name: samples for samples in metrics.samples()}
    told = forecast(history_of(flows, snapshot, book).lazy()).by_metric
    compared = 0
    for name, sets, series in told.select("metric", "label_sets", "series").rows():
        if name in exposed:
            assert (sets, series) == (exposed[name].labels.height, exposed[name].series), name
            compared += sets > 0
    assert compared >= 9


@pytest.mark.parametrize("share", [0.3, 0.8, 1.0])
def test_a_budget_folds_what_the_pipeline_folds_under_it(judged: Judged, share: float) -> None:
    flows, snapshot, book = judged
    metrics, of_pipeline = FlowMetrics(families()), budget(60, share)
    metrics.use(snapshot)
    metrics.add(flows)
    parts = nested("flows", metrics)
    of_pipeline.enforce(parts, 1)
    samples, *_ = of_pipeline.samples()
    folded = dict(zip(samples.labels["family"], samples.values, strict=True))
    at_once = history_of(flows, snapshot, book).with_columns(pl.col("time").max())
    told = dict(forecast(at_once.lazy(), budget(60, share)).by_family.select("family", "beyond").rows())
    common = {name: count for name, count in folded.items() if name in told}
    assert common == {name: count for name, count in told.items() if count and name in parts}
    assert common["flows/conversations"] > 0
    assert len(common) >= 7


def test_without_a_budget_nothing_is_folded(judged: Judged) -> None:
    flows, snapshot, book = judged
    history = history_of(flows, snapshot, book).lazy()
    free, limited = (forecast(history, of) for of in (None, budget(60)))
    for table in (free.by_metric, free.by_family, free.by_namespace):
        assert table["beyond"].sum() == 0
    of_pairs = dict(limited.by_metric.select("metric", "beyond").rows())
    assert 0 < of_pairs["flowatlas_connections_total"] * 2 == of_pairs["flowatlas_flow_bytes_total"]


def test_the_three_tables_tell_of_the_same(judged: Judged) -> None:
    flows, snapshot, book = judged
    found = forecast(history_of(flows, snapshot, book).lazy(), budget(60))
    assert len({table["series"].sum() for table in (found.by_metric, found.by_family, found.by_namespace)}) == 1
    for count in ("label_sets", "beyond"):
        assert found.by_family[count].sum() == found.by_namespace[count].sum() > 0
    assert set(found.by_namespace["namespace"]) >= {"team-3", ""}
    assert found.by_metric["series"].is_sorted(descending=True)


def test_no_flows_make_no_series() -> None:
    told = forecast(HISTORY.to_frame().lazy(), budget(60))
    assert (told.by_metric.schema, told.by_family.schema, told.by_namespace.schema) == (
        BY_METRIC,
        BY_FAMILY,
        BY_NAMESPACE,
    )
    assert told.by_metric["series"].sum() == 0
    assert told.by_namespace.is_empty()


def test_the_command_prints_the_sum(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["metrics", "forecast", "--lake", "notebooks/data/lake", "-o", "csv"]
    assert main(asked) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("metric,cardinality,label_sets,series,beyond\n")
    series = sum(int(line.split(",")[3]) for line in printed.out.splitlines()[1:])
    assert printed.err == f"flowatlas: {series:,} series of metrics that flows tell of\n"
    assert main([*asked, "--series-max-per-family", "0"]) == 2


def test_the_command_counts_by_namespace_under_the_limits_of_a_pipeline(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tmp_path / "flowatlas.yaml"
    config.write_text("pipeline:\n  series_max_per_family: 20\n")
    asked = ["metrics", "forecast", "--lake", "notebooks/data/lake", "-o", "csv", "--config", str(config)]
    beyond = {}
    for by in ("family", "namespace"):
        assert main([*asked, "--by", by]) == 0
        printed = capsys.readouterr()
        assert printed.out.startswith(f"{by},label_sets,series,beyond\n")
        beyond[by] = sum(int(line.rpartition(",")[2]) for line in printed.out.splitlines()[1:])
        assert printed.err.endswith(f"; {beyond[by]:,} label sets would be folded\n")
    assert beyond["family"] == beyond["namespace"] > 0
