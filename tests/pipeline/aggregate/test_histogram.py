"""A histogram holds each observation in every bucket that it belongs to, whatever the order and the grouping."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client import Histogram as Reference
from prometheus_client.parser import text_string_to_metric_families

from pipeline import catalog
from pipeline.aggregate.histogram import Histogram
from pipeline.aggregate.samples import Samples
from pipeline.catalog import Metric
from pipeline.outputs.exposition import Renderer

BUCKETS = (0.0001, 0.001, 0.25, 10.0)
METRIC = Metric("flowatlas_example_seconds", "histogram", "seconds", ("client",), "An example.", buckets=BUCKETS)
NANOSECONDS = 10**9


@pytest.fixture(autouse=True, scope="module")
def example() -> Iterator[None]:
    """The catalogue has the example while these tests run."""
    catalog.BY_NAME[METRIC.name] = METRIC
    yield
    del catalog.BY_NAME[METRIC.name]


def named(ids: pl.DataFrame) -> pl.DataFrame:
    """Ids two by two are one client; no id is nobody."""
    return ids.select(client=pl.format("client {}", pl.col("src_id") // 2).fill_null("nobody"))


def observations(*rows: tuple[int | None, int]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"src_id": pl.UInt32, "latency_ns": pl.UInt64}, orient="row")


def counted(*frames: pl.DataFrame) -> Samples:
    histogram = Histogram(METRIC.name, ids=("src_id",), value="latency_ns", per_unit=NANOSECONDS)
    for frame in frames:
        histogram.add(frame, named)
        histogram.forget_ids()
    return histogram.samples()


def parsed(samples: Samples) -> dict[tuple[str, str, str], float]:
    """(series name, client, le) to value, as a foreign parser reads it."""
    return {
        (sample.name, sample.labels["client"], sample.labels.get("le", "")): sample.value
        for family in text_string_to_metric_families(Renderer().render([samples]).decode())
        for sample in family.samples
    }


def test_the_text_in_full() -> None:
    """Bounds belong to their bucket; buckets are cumulative; each series' lines stand together."""
    text = Renderer().render([counted(observations((2, 100_000), (2, 100_001), (3, 2**40), (4, 0)))])
    assert text.decode() == (
        "# HELP flowatlas_example_seconds An example.\n"
        "# TYPE flowatlas_example_seconds histogram\n"
        'flowatlas_example_seconds_bucket{client="client 1",le="0.0001"} 1\n'
        'flowatlas_example_seconds_bucket{client="client 1",le="0.001"} 2\n'
        'flowatlas_example_seconds_bucket{client="client 1",le="0.25"} 2\n'
        'flowatlas_example_seconds_bucket{client="client 1",le="10.0"} 2\n'
        'flowatlas_example_seconds_bucket{client="client 1",le="+Inf"} 3\n'
        'flowatlas_example_seconds_sum{client="client 1"} 1099.511827777\n'
        'flowatlas_example_seconds_count{client="client 1"} 3\n'
        'flowatlas_example_seconds_bucket{client="client 2",le="0.0001"} 1\n'
        'flowatlas_example_seconds_bucket{client="client 2",le="0.001"} 1\n'
        'flowatlas_example_seconds_bucket{client="client 2",le="0.25"} 1\n'
        'flowatlas_example_seconds_bucket{client="client 2",le="10.0"} 1\n'
        'flowatlas_example_seconds_bucket{client="client 2",le="+Inf"} 1\n'
        'flowatlas_example_seconds_sum{client="client 2"} 0.0\n'
        'flowatlas_example_seconds_count{client="client 2"} 1\n'
    )


latencies = st.integers(0, 20 * NANOSECONDS) | st.sampled_from([round(bound * NANOSECONDS) for bound in BUCKETS])
rows = st.tuples(st.none() | st.integers(0, 5), latencies)


@given(st.lists(st.lists(rows, max_size=20), max_size=4))
def test_it_is_what_the_official_client_counts(batches: list[list[tuple[int | None, int]]]) -> None:
    """Any observations, in any batches: the same series, buckets and counts; sums to the last digits of a float."""
    registry = CollectorRegistry()
    reference = Reference(METRIC.name, "x", METRIC.labels, buckets=BUCKETS, registry=registry)
    for number, latency_ns in (row for batch in batches for row in batch):
        client = "nobody" if number is None else f"client {number // 2}"
        reference.labels(client).observe(latency_ns / NANOSECONDS)
    wanted = {
        (sample.name, sample.labels["client"], sample.labels.get("le", "")): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
    assert parsed(counted(*(observations(*batch) for batch in batches))) == pytest.approx(wanted, rel=1e-12)


def test_series_are_counted_as_prometheus_sees_them() -> None:
    samples = counted(observations((0, 1), (2, 1)))
    lines = Renderer().render([samples]).decode().splitlines()
    assert samples.series == len([line for line in lines if not line.startswith("#")]) == 2 * 7


def test_labels_stay_the_same_object_while_series_do() -> None:
    """So that the text before the values can be kept."""
    histogram = Histogram(METRIC.name, ids=("src_id",), value="latency_ns", per_unit=NANOSECONDS)
    histogram.add(observations((0, 1)), named)
    first = histogram.samples()
    histogram.add(observations((1, 5)), named)
    second = histogram.samples()
    assert first.labels is second.labels
    assert [row["+Inf"] for samples in (first, second) for row in samples.values] == [1, 2]


@pytest.mark.parametrize("dtype", [pl.UInt32, pl.UInt64])
def test_the_wires_dtypes_are_taken(dtype: type[pl.DataType]) -> None:
    frame = observations((0, 100_000)).with_columns(pl.col("latency_ns").cast(dtype))
    assert parsed(counted(frame))["flowatlas_example_seconds_bucket", "client 0", "0.0001"] == 1


def test_a_histogram_without_labels_has_its_lines_too() -> None:
    metric = Metric("flowatlas_plain_seconds", "histogram", "seconds", (), "Plain.", buckets=(1.0,))
    values = pl.DataFrame({"1.0": np.array([2], np.uint64), "+Inf": np.array([3], np.uint64), "sum": [4.5]})
    assert Renderer().render([Samples(metric, pl.DataFrame(), values.to_struct("value"))]).decode().splitlines()[
        2:
    ] == [
        'flowatlas_plain_seconds_bucket{le="1.0"} 2',
        'flowatlas_plain_seconds_bucket{le="+Inf"} 3',
        "flowatlas_plain_seconds_sum 4.5",
        "flowatlas_plain_seconds_count 3",
    ]


def test_values_of_other_buckets_are_refused() -> None:
    values = pl.DataFrame({"1.0": [1], "sum": [1.0]}).to_struct("value")
    with pytest.raises(ValueError, match="buckets"):
        Samples(METRIC, pl.DataFrame({"client": ["a"]}), values)
