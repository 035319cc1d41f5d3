"""The budget over all families: never more series than allowed, exact sums, and counts that outlive the process."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from pipeline.aggregate.budget import LEVELS, Limit, limit_of
from pipeline.aggregate.histogram import Histogram
from pipeline.aggregate.series import SeriesBudget
from pipeline.aggregate.totals import Totals
from pipeline.catalog import BY_NAME
from pipeline.kept import Kept

DNS = BY_NAME["flowatlas_dns_latency_seconds"]


def one_label(ids: pl.DataFrame) -> pl.DataFrame:
    return ids.select(name=pl.format("name-{}", "id"))


def clients(ids: pl.DataFrame) -> pl.DataFrame:
    return ids.select(
        pl.format("{}-{}", pl.lit(label), "id").alias(label) if label != "name_class" else pl.lit("pod").alias(label)
        for label in DNS.labels
    )


class Families:
    """One family of two measures, one of one, and a histogram, fed alike."""

    def __init__(self) -> None:
        self.pairs = Totals(("id",), ("name",), ("bytes", "packets"))
        self.nodes = Totals(("id",), ("name",), ("bytes",))
        self.latency = Histogram(DNS.name, ("id",), "latency_ns", 10**9)
        self.parts: Mapping[str, Kept] = {"pairs": self.pairs, "nodes": self.nodes, "latency": self.latency}

    def add(self, ids: range) -> None:
        rows = pl.DataFrame({"id": pl.Series(ids, dtype=pl.UInt32)}).with_columns(
            pl.lit(1, pl.UInt64).alias(name) for name in ("bytes", "packets", "latency_ns")
        )
        self.pairs.add(rows, one_label)
        self.nodes.add(rows.select("id", "bytes"), one_label)
        self.latency.add(rows, clients)

    @property
    def series(self) -> int:
        return 2 * len(self.pairs) + len(self.nodes) + self.latency.samples().series


def folded(budget: SeriesBudget) -> dict[str, int]:
    samples, _ = budget.samples()
    return dict(zip(samples.labels["family"], samples.values, strict=True))


def test_all_families_together_keep_to_the_budget() -> None:
    budget, it = SeriesBudget(1000, limit_of(10_000, tuple(LEVELS)), 0), Families()
    for first in range(0, 3000, 100):
        it.add(range(first, first + 100))
        budget.enforce(it.parts, first)
        assert it.series <= 1000
    for totals in (it.pairs, it.nodes):
        assert totals.measure("bytes").sum() == 3000
    assert it.latency.totals.measure("+Inf").sum() == 3000
    assert folded(budget).keys() == {"pairs", "nodes", "latency"}


def test_the_budget_holds_from_the_first_window_on_and_in_those_that_look_for_the_idle() -> None:
    second = 10**9
    budget, it = SeriesBudget(300, limit_of(10_000, tuple(LEVELS)), 100), Families()
    for at in range(10):
        it.add(range(100 * at, 100 * at + 100))
        budget.enforce(it.parts, (1000 + at) * 6 * second)
        assert it.series <= 300


def test_a_family_keeps_to_its_limit() -> None:
    budget, it = SeriesBudget(10**6, Limit(50), 0), Families()
    it.add(range(1000))
    budget.enforce(it.parts, 1)
    assert [len(totals) for totals in (it.pairs, it.nodes, it.latency)] <= [50, 50, 50]
    assert folded(budget)["nodes"] == 1000 - (len(it.nodes) - 1)


def test_the_idle_go_after_their_time() -> None:
    second = 10**9
    budget, it = SeriesBudget(10**6, Limit(1000), 100), Families()
    it.add(range(20))
    budget.enforce(it.parts, 1000 * second)
    it.add(range(5))
    budget.enforce(it.parts, 1050 * second)
    budget.enforce(it.parts, 1101 * second)
    assert len(it.nodes) == 5
    _, expired = budget.samples()
    assert expired.values.to_list() == [3 * 15]


def test_counts_outlive_the_process() -> None:
    budget, it = SeriesBudget(10**6, Limit(50), 0), Families()
    it.add(range(1000))
    budget.enforce(it.parts, 1)
    again, more = SeriesBudget(10**6, Limit(50), 0), Families()
    assert again.restore(budget.state()) == 0
    assert folded(again) == folded(budget)
    more.add(range(1000))
    again.enforce(more.parts, 1)
    assert folded(again) == {name: 2 * count for name, count in folded(budget).items()}
    assert again.restore({"counts": pl.DataFrame({"family": ["a"]})}) == 1
