"""The budget over all families: never more series than allowed, exact sums, and counts that outlive the process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.aggregate.budget import LEVELS, Limit, limit_of
from pipeline.aggregate.histogram import Histogram
from pipeline.aggregate.series import MOST_NAMESPACES, SeriesBudget
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
    samples, *_ = budget.samples()
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
    _, expired, _ = budget.samples()
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


class Tenants:
    """Two families and a histogram, all of which say whose a label set is."""

    def __init__(self) -> None:
        self.pairs = Totals(("id",), ("source_namespace", "source_workload", "destination_namespace"), ("bytes",))
        self.endpoints = Totals(("id",), ("service_namespace", "service", "endpoint"), ("bytes", "packets"))
        self.latency = Histogram(DNS.name, ("id",), "latency_ns", 10**9)
        self.nodes = Totals(("id",), ("name",), ("bytes",))
        self.parts: Mapping[str, Kept] = {
            "pairs": self.pairs,
            "endpoints": self.endpoints,
            "latency": self.latency,
            "nodes": self.nodes,
        }

    def add(self, tenant: int, number: int, first: int = 0) -> None:
        """So many of everything in one namespace, and of none."""
        self.add_ids(range(tenant * 1_000_000 + first, tenant * 1_000_000 + first + number))

    def add_ids(self, ids: Iterable[int]) -> None:
        """One of everything for each."""
        rows = pl.DataFrame({"id": pl.Series(list(ids), dtype=pl.UInt32)}).with_columns(
            pl.lit(1, pl.UInt64).alias(name) for name in ("bytes", "packets", "latency_ns")
        )
        self.pairs.add(rows, _pairs)
        self.endpoints.add(rows, _endpoints)
        self.latency.add(rows, _clients)
        self.nodes.add(rows, one_label)

    @property
    def series(self) -> int:
        return len(self.pairs) + 2 * len(self.endpoints) + self.latency.samples().series + len(self.nodes)

    def own(self, tenant: int) -> dict[tuple[str, ...], int]:
        """What is shown of a namespace."""
        found: dict[tuple[str, ...], int] = {}
        for totals, measure in ((self.pairs, "bytes"), (self.endpoints, "bytes"), (self.latency.totals, "+Inf")):
            rows = zip(totals.labels.rows(), totals.measure(measure), strict=True)
            found |= {labels: value for labels, value in rows if f"ns-{tenant}" in labels}
        return found


_TENANT = pl.format("ns-{}", pl.col("id") // 1_000_000)


def _pairs(ids: pl.DataFrame) -> pl.DataFrame:
    return ids.select(
        source_namespace=_TENANT, source_workload=pl.format("app-{}", "id"), destination_namespace=pl.lit("ns-0")
    )


def _endpoints(ids: pl.DataFrame) -> pl.DataFrame:
    return ids.select(service_namespace=_TENANT, service=pl.lit("web"), endpoint=pl.format("pod-{}", "id"))


def _clients(ids: pl.DataFrame) -> pl.DataFrame:
    return clients(ids).with_columns(ids.select(source_namespace=_TENANT).to_series())


def of_namespaces(budget: SeriesBudget) -> dict[str, int]:
    *_, samples = budget.samples()
    return dict(zip(samples.labels["namespace"], samples.values, strict=True))


SHARED = limit_of(2_000, tuple(LEVELS))


def test_who_comes_after_a_bomb_of_series_has_all_of_its_own() -> None:
    budget, it = SeriesBudget(60_000, SHARED, 0, share=0.5), Tenants()
    alone, calm = SeriesBudget(60_000, SHARED, 0, share=0.5), Tenants()
    for at in range(5):
        it.add(9, 3_000, first=3_000 * at)
        budget.enforce(it.parts, at)
    for tenant in (1, 2, 3):
        it.add(tenant, 100)
        calm.add(tenant, 100)
        it.add(9, 3_000, first=15_000)
        budget.enforce(it.parts, 10 + tenant)
        alone.enforce(calm.parts, 10 + tenant)
        assert it.series <= 60_000
    for tenant in (1, 2, 3):
        assert len(it.own(tenant)) == 300
        assert it.own(tenant) == calm.own(tenant)
    assert it.pairs.measure("bytes").sum() == 18_000 + 6_000 + 300
    told = of_namespaces(budget)
    assert told.keys() == {"ns-9", ""}
    assert told[""] == folded(budget)["nodes"]
    assert sum(told.values()) == sum(folded(budget).values())
    assert ("ns-9", "other", "other") in it.own(9) or ("ns-9", "other", "ns-0") in it.own(9)


def test_one_namespace_alone_has_nearly_all_and_who_comes_later_all_of_its_own() -> None:
    budget, it = SeriesBudget(60_000, SHARED, 0, share=0.8), Tenants()
    for at in range(5):
        it.add(9, 1_000, first=1_000 * at)
        budget.enforce(it.parts, at)
    pairs = [labels for labels in it.pairs.labels.rows() if labels[0] == "ns-9"]
    assert 0.7 * SHARED.most < len([labels for labels in pairs if "other" not in labels]) <= 0.8 * SHARED.most
    for at, tenant in enumerate((1, 2, 3)):
        it.add(tenant, 40)
        it.add(9, 1_000, first=5_000 + 1_000 * at)
        budget.enforce(it.parts, 10 + at)
        assert len(it.own(tenant)) == 120
    assert it.pairs.measure("bytes").sum() == 8_000 + 120


def test_who_comes_with_a_bomb_of_series_has_all_of_its_own() -> None:
    budget, it = SeriesBudget(60_000, SHARED, 0, share=0.5), Tenants()
    for tenant, number in ((7, 20_000), (8, 10_000), (1, 100), (9, 5_000)):
        it.add(tenant, number)
    budget.enforce(it.parts, 1)
    assert len(it.own(1)) == 300
    assert set(it.own(1).values()) == {1}


def test_one_namespace_has_no_more_than_its_share_of_all_families_together() -> None:
    """Limits of families are far off here: what binds is the budget."""
    budget, it = SeriesBudget(10_000, limit_of(100_000, tuple(LEVELS)), 0, share=0.5), Tenants()
    for at in range(20):
        it.add(1, 200, first=200 * at)
        budget.enforce(it.parts, at)
    buckets = len(DNS.le) + 2
    owned = len([labels for labels in it.pairs.labels.rows() if labels[0] == "ns-1"])
    owned += 2 * it.endpoints.labels.filter(service_namespace="ns-1").height
    owned += buckets * it.latency.totals.labels.filter(source_namespace="ns-1").height
    assert 3_000 < owned <= 5_000
    it.add(2, 20)
    budget.enforce(it.parts, 100)
    assert len(it.own(2)) == 60


def test_quotas_ask_nobody_whose_what_is_while_all_is_within_one_share() -> None:
    budget, it = SeriesBudget(1_000_000, limit_of(10_000, tuple(LEVELS)), 0, share=0.5), Tenants()
    it.add(1, 4_000)
    budget.enforce(it.parts, 1)
    assert not budget._counted
    assert it.pairs.limit is not None
    assert it.pairs.limit.quota is None
    it.add(1, 4_000, first=4_000)
    budget.enforce(it.parts, 2)
    assert budget._counted
    assert len(it.pairs) < 5_000


def test_what_was_folded_is_told_of_so_many_namespaces_and_outlives_the_process() -> None:
    budget, it = SeriesBudget(10**6, Limit(10), 0, share=0.5), Tenants()
    it.add_ids(tenant * 1_000_000 + pod for tenant in range(MOST_NAMESPACES + 100) for pod in (0, 1))
    budget.enforce(it.parts, 1)
    told = of_namespaces(budget)
    assert len(told) == MOST_NAMESPACES + 1
    assert told["other"] > 0
    again = SeriesBudget(10**6, Limit(10), 0, share=0.5)
    assert again.restore(budget.state()) == 0
    assert of_namespaces(again) == told
    old = {"counts": budget.state()["counts"]}  # as written before there were quotas
    assert SeriesBudget(10**6, Limit(10), 0).restore(old) == 0


def test_a_label_set_that_is_folded_is_told_once_however_often_it_is_named() -> None:
    """As after each change of the cluster that gives ids anew."""
    budget, it = SeriesBudget(60_000, SHARED, 0, share=0.5), Tenants()
    told = []
    for at, number in enumerate((3_000, 3_000, 3_000, 3_100)):
        it.add(1, number)
        budget.enforce(it.parts, at)
        told.append((folded(budget), of_namespaces(budget)))
        for totals in (it.pairs, it.endpoints, it.latency.totals, it.nodes):
            totals.forget_ids()
    first, *again, more = told
    assert again == [first, first]
    assert more[0] == {family: count + 100 for family, count in first[0].items()}
    assert more[1] == {"ns-1": first[1]["ns-1"] + 300, "": first[1][""] + 100}


tenants = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 150)), min_size=1, max_size=4)


@settings(max_examples=25, deadline=None)
@given(st.lists(tenants, min_size=2, max_size=6), st.integers(1_000, 6_000), st.sampled_from([0.1, 0.5, 0.9]))
def test_with_quotas_sums_are_exact_and_a_series_stays_and_never_falls(
    rounds: list[list[tuple[int, int]]], most: int, share: float
) -> None:
    """Also where all that was folded is named anew, as after each change of the cluster."""
    budget, it, sent = SeriesBudget(most, limit_of(200, tuple(LEVELS)), 0, share), Tenants(), 0
    before: dict[tuple[str, ...], int] = {}
    for at, wanted in enumerate(rounds):
        for tenant, number in wanted:
            it.add(tenant, number)
            sent += number
        budget.enforce(it.parts, at)
        assert it.series <= most
        now = dict(zip(it.pairs.labels.rows(), it.pairs.measure("bytes"), strict=True))
        assert sum(now.values()) == sent
        assert all(now[labels] >= value for labels, value in before.items())
        before = now
        for totals in (it.pairs, it.endpoints, it.latency.totals, it.nodes):
            totals.forget_ids()


Labels = tuple[str, ...]
windows = st.lists(
    st.tuples(tenants, st.sampled_from([5, 70, 150]), st.sampled_from(["", "", "restart", "cluster"])),
    min_size=2,
    max_size=8,
)


def grown(before: Mapping[Labels, int], now: Mapping[Labels, int]) -> int:
    """What Prometheus takes series to have grown by: one that falls, or is there again, began at 0."""
    return sum(
        value - before.get(labels, 0) if value >= before.get(labels, 0) else value for labels, value in now.items()
    )


@settings(max_examples=20, deadline=None)
@given(windows, st.integers(1_000, 6_000), st.sampled_from([0.5, 1.0]))
def test_whatever_is_folded_goes_comes_back_or_is_restarted_all_growth_is_what_was_counted(
    rounds: list[tuple[list[tuple[int, int]], int, str]], most: int, share: float
) -> None:
    """Series that go for being idle take what they had with them, and nothing of what comes."""
    limit, second = limit_of(100, tuple(LEVELS)), 10**9
    budget, it, at_s, sent, seen = SeriesBudget(most, limit, 100, share), Tenants(), 1_000, 0, 0
    before: dict[Labels, int] = {}
    for wanted, passes_s, happens in rounds:
        for tenant, number in wanted:
            it.add(tenant, number)
            sent += number
        at_s += passes_s
        budget.enforce(it.parts, at_s * second)
        assert it.series <= most
        now = dict(zip(it.pairs.labels.rows(), it.pairs.measure("bytes"), strict=True))
        seen += grown(before, now)
        assert (seen, it.pairs.ever("bytes")) == (sent, sent)
        assert all(now[labels] >= value for labels, value in before.items() if labels in now)
        before = now
        if happens == "restart":
            successor, after = Tenants(), SeriesBudget(most, limit, 100, share)
            for name, part in it.parts.items():
                assert successor.parts[name].restore(part.state()) == 0
            assert after.restore(budget.state()) == 0
            it, budget = successor, after
        elif happens == "cluster":
            for totals in (it.pairs, it.endpoints, it.latency.totals, it.nodes):
                totals.forget_ids()


def test_what_a_bomb_leaves_behind_goes_and_makes_room() -> None:
    second = 10**9
    budget, it = SeriesBudget(20_000, SHARED, idle_s=100, share=0.5), Tenants()
    it.add(9, 3_000)
    budget.enforce(it.parts, 1_000 * second)
    it.add(1, 700)  # more than half of what is left
    budget.enforce(it.parts, 1_010 * second)
    assert len(it.own(1)) < 2_100
    for at in range(1_020, 1_300, 10):
        it.add(1, 700)
        budget.enforce(it.parts, at * second)
    assert len(it.own(9)) == 0
    it.pairs.forget_ids()
    it.add(1, 700)
    budget.enforce(it.parts, 1_300 * second)
    assert len([labels for labels in it.pairs.labels.rows() if "ns-1" in labels and "other" not in labels]) == 700
