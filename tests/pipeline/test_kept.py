"""What is kept of aggregates: each one that takes up the state of another goes on as if it were that one."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipeline.aggregate.histogram import Histogram
from pipeline.aggregate.samples import SUM
from pipeline.aggregate.totals import Totals
from pipeline.kept import frames_of, restored


def named(ids: pl.DataFrame) -> pl.DataFrame:
    return ids.select(pl.col("id").cast(pl.String).alias("node"), reason=pl.lit("r"))


def deltas(**by_id: int) -> pl.DataFrame:
    rows = [(int(name[1:]), value) for name, value in by_id.items()]
    return pl.DataFrame(rows, schema={"id": pl.UInt32, "bytes": pl.UInt64}, orient="row")


def totals(*labels: str, measures: tuple[str, ...] = ("bytes",)) -> Totals:
    return Totals(("id",), labels or ("node", "reason"), measures)


def table(of: Totals) -> dict[tuple[str, ...], int]:
    first = of.measure("bytes").to_list()
    return dict(zip(of.labels.rows(), first, strict=True))


def test_totals_go_on_where_others_stopped() -> None:
    before, after = totals(), totals()
    before.add(deltas(a1=5, a2=2**64 - 2), named)
    assert restored({"t": after}, frames_of({"t": before})) == {}
    assert table(after) == {("1", "r"): 5, ("2", "r"): 2**64 - 2}
    after.add(deltas(a1=1, a3=7), named)  # ids of another process may mean anything; names do not
    assert table(after) == {("1", "r"): 6, ("2", "r"): 2**64 - 2, ("3", "r"): 7}


def test_what_was_given_out_does_not_change_later() -> None:
    before = totals()
    before.add(deltas(a1=5), named)
    frames = frames_of({"t": before})
    kept = {name: frame.clone() for name, frame in frames.items()}
    before.add(deltas(a1=5, a2=1), named)
    frames_of({"t": before})
    for name, frame in kept.items():
        assert_frame_equal(frames[name], frame)


def test_labels_that_are_the_same_are_the_same_object() -> None:
    before = totals()
    before.add(deltas(a1=5), named)
    labels = before.state()["labels"]
    before.add(deltas(a1=5), named)
    assert before.state()["labels"] is labels


def test_a_label_that_is_gone_folds_and_one_that_is_new_is_empty() -> None:
    before = totals()
    before.add(deltas(a1=5), named)
    before.add(deltas(a2=6), named)
    folded, widened = totals("reason"), totals("node", "reason", "zone")
    assert restored({"t": folded}, frames_of({"t": before})) == {"t": 2}
    assert table(folded) == {("r",): 11}
    assert restored({"t": widened}, frames_of({"t": before})) == {"t": 2}
    assert table(widened) == {("1", "r", ""): 5, ("2", "r", ""): 6}


def test_a_measure_that_is_new_begins_at_zero() -> None:
    before, after = totals(), totals(measures=("bytes", "opened"))
    before.add(deltas(a1=5), named)
    assert restored({"t": after}, frames_of({"t": before})) == {"t": 1}
    assert after.measure("opened").to_list() == [0]
    assert table(after) == {("1", "r"): 5}


def test_parts_that_are_gone_are_counted() -> None:
    before = totals()
    before.add(deltas(a1=5), named)
    assert restored({}, frames_of({"t": before})) == {"t": 2}  # a row of labels and one of values


LATENCY = "flowatlas_dns_latency_seconds"


def latency() -> Histogram:
    return Histogram(LATENCY, ("src_id",), "ns", 10**9)


def observed(histogram: Histogram) -> pl.DataFrame:
    samples = histogram.samples()
    return pl.concat([samples.labels, samples.values.struct.unnest()], how="horizontal")


def client(ids: pl.DataFrame) -> pl.DataFrame:
    labels = latency()._metric.labels
    return ids.select(pl.col("src_id").cast(pl.String).alias(label) for label in labels)


def test_histograms_go_on_where_others_stopped() -> None:
    rows = pl.DataFrame({"src_id": [1, 1, 2], "ns": [5, 10**7, 10**10]}, schema={"src_id": pl.UInt32, "ns": pl.UInt64})
    before, after, whole = latency(), latency(), latency()
    before.add(rows, client)
    assert restored({"h": after}, frames_of({"h": before})) == {}
    after.add(rows, client)
    whole.add(pl.concat([rows, rows]), client)
    assert_frame_equal(observed(after), observed(whole))


def test_a_histogram_with_other_bounds_begins_anew() -> None:
    before = Totals(("src_id",), latency()._metric.labels, ("0.5", "+Inf", SUM))
    rows = pl.DataFrame({"src_id": [1]}, schema={"src_id": pl.UInt32})
    before.add_at(before.slots(rows, client), {name: np.ones(1, np.uint64) for name in ("0.5", "+Inf", SUM)})
    after = latency()
    assert restored({"h": after}, frames_of({"h": before})) == {"h": 1}
    assert len(after) == 0


@pytest.mark.parametrize("times", [1, 3])
def test_a_state_survives_any_number_of_restarts(times: int) -> None:
    first = totals()
    first.add(deltas(a1=5, a2=6), named)
    last = first
    for _ in range(times):
        after = totals()
        restored({"t": after}, frames_of({"t": last}))
        last = after
    assert table(last) == table(first)
