"""The budget of series: never more than allowed, no sum changed, heavy ones kept, and who is in stays in."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.aggregate.budget import LEVELS, OTHER, Limit, fitted, limit_of
from pipeline.aggregate.totals import Totals
from pipeline.errors import ConfigError

LABELS = ("source_namespace", "source_workload", "endpoint", "protocol")
LIMIT = limit_of(40, ("pod", "workload", "namespace"))


def named(ids: pl.DataFrame) -> pl.DataFrame:
    """Ids as label text: a thousand pods in each of many workloads, ten workloads a namespace, two protocols."""
    pod = ids["id"].cast(pl.Int64)
    return pl.DataFrame(
        {
            "source_namespace": "ns-" + (pod // 10_000).cast(pl.String),
            "source_workload": "app-" + (pod // 1_000).cast(pl.String),
            "endpoint": "pod-" + pod.cast(pl.String),
            "protocol": pl.Series(["TCP" if number % 7 else "UDP" for number in pod], dtype=pl.String),
        }
    )


def totals(limit: Limit | None = LIMIT) -> Totals:
    made = Totals(("id",), LABELS, ("bytes", "packets"))
    made.limit = limit
    return made


def add(to: Totals, ids: list[int], amount: list[int] | None = None) -> None:
    of = pl.Series(amount if amount is not None else [1] * len(ids), dtype=pl.UInt64)
    to.add(pl.DataFrame({"id": pl.Series(ids, dtype=pl.UInt32), "bytes": of, "packets": of}), named)


def shown(of: Totals) -> Counter[tuple[str, ...]]:
    return Counter(dict(zip(of.labels.rows(), of.measure("bytes").to_list(), strict=True)))


pods = st.lists(st.integers(0, 60_000), min_size=1, max_size=80)


@settings(max_examples=80, deadline=None)
@given(st.lists(pods, min_size=1, max_size=8), st.integers(2, 60))
def test_sums_are_exact_and_series_within_the_cap(batches: list[list[int]], most: int) -> None:
    it, whole = totals(limit_of(most, tuple(LEVELS))), totals(None)
    before: Counter[tuple[str, ...]] = Counter()
    for ids in batches:
        add(it, ids, [number % 13 + 1 for number in ids])
        add(whole, ids, [number % 13 + 1 for number in ids])
        now = shown(it)
        assert len(now) <= most
        assert now.total() == shown(whole).total()
        assert all(now[labels] >= value for labels, value in before.items()), "a series stays and never falls"
        before = now


def test_who_is_in_stays_in_and_the_heaviest_come_first() -> None:
    it = totals()
    add(it, [0, 1000, 2000], [5, 5, 5])
    light, heavy = list(range(3000, 3100)), list(range(10_000, 10_010))
    add(it, [*light, *heavy], [1] * 100 + [1000] * 10)
    kept = shown(it)
    endpoints = {labels[2] for labels in kept}
    assert {f"pod-{number}" for number in (0, 1000, 2000, *heavy)} <= endpoints
    add(it, [20_000, 3000], [10**9, 7])
    assert {labels[2] for labels in shown(it)} >= endpoints, "one that comes late pushes nobody out"


def test_the_finest_label_goes_first_and_protocols_last() -> None:
    it = totals()
    add(it, list(range(200)))
    folded = {labels for labels in shown(it) if OTHER in labels}
    assert folded == {("ns-0", "app-0", OTHER, protocol) for protocol in ("TCP", "UDP")}
    add(it, list(range(0, 60_000, 500)))
    folded = {labels for labels in shown(it) if labels[1] == OTHER}
    assert folded
    assert {labels[2] for labels in folded} == {OTHER}
    assert {labels[3] for labels in folded} <= {"TCP", "UDP", OTHER}


def test_the_order_is_the_users() -> None:
    new = named(pl.DataFrame({"id": range(0, 60_000, 300)}))
    limit = limit_of(40, ("namespace",))
    given_ = fitted(new.clear(), new, pl.Series([1.0] * new.height), limit)
    changed = given_.filter(pl.col("source_namespace") == OTHER)
    assert changed.height
    assert given_.unique().height <= 40
    with pytest.raises(ConfigError, match="series_fold"):
        limit_of(40, ("pod", "port"))


def test_folded_label_sets_are_counted() -> None:
    it = totals()
    add(it, list(range(100)))
    detailed = [labels for labels in shown(it) if OTHER not in labels]
    assert it.folded == 100 - len(detailed)


def test_an_idle_series_goes_and_makes_room() -> None:
    it = totals()
    add(it, list(range(100)))
    assert len(shown(it)) <= 40
    assert it.expire(1000, 500) == 0
    add(it, [3])
    add(it, [99_000])  # folded: there is no room
    assert it.expire(1400, 500) == 0
    gone = it.expire(1600, 500)
    assert gone > 30
    left = shown(it)
    assert {labels[2] for labels in left} >= {"pod-3"}
    add(it, [99_000], [8])
    assert shown(it)["ns-9", "app-99", "pod-99000", "TCP"] == 8


def test_without_a_limit_nothing_is_folded() -> None:
    it = totals(None)
    add(it, list(range(5000)))
    assert len(shown(it)) == 5000
    assert it.folded == 0


def test_a_million_pods_of_one_tenant_leave_the_others_as_they_are() -> None:
    """A tenant whose pods churn: the cap holds exactly, sums too, and another's series are what they were."""
    it = totals(limit_of(5000, tuple(LEVELS)))
    other = list(range(50_000, 50_100))
    add(it, other)
    before = {labels: value for labels, value in shown(it).items() if labels[0] == "ns-5"}
    chance = np.random.default_rng(3)
    sent = 0
    for _ in range(10):
        ids = chance.choice(50_000, 20_000, replace=False).tolist()
        add(it, ids)
        sent += len(ids)
        assert len(shown(it)) <= 5000
    after = shown(it)
    assert {labels: value for labels, value in after.items() if labels[0] == "ns-5"} == before
    assert after.total() == sent + len(other)
