"""Zone bytes and costs equal a row-at-a-time count, whatever the windows and snapshots were."""

from __future__ import annotations

from collections import Counter
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.aggregate.samples import Samples
from pipeline.aggregate.zones import ZoneMetrics
from pipeline.attribution.roles import ROLES
from pipeline.attribution.zones import with_locality
from pipeline.inventory.snapshot import Snapshot
from pipeline.kept import frames_of, restored
from pipeline.prices import Price, Prices
from tests.pipeline.small_cluster import pod
from tests.pipeline.zoned_cluster import zoned_cluster

EARLIER = pod("aaa", "node-a", "10.0.1.77", namespace="aaa")
SNAPSHOTS = (zoned_cluster(), zoned_cluster(EARLIER))
PRICES = Prices("USD", {"cross_zone": Price(0.01, 0.02), "internet": Price(0.09), "same_node": Price()})
SCHEMA = pl.Schema(
    {
        "src_id": pl.UInt32(),
        "dst_id": pl.UInt32(),
        "service_id": pl.UInt32(),
        "role": ROLES,
        "bytes": pl.UInt64(),
        "reply_bytes": pl.UInt64(),
    }
)


@st.composite
def windows(draw: st.DrawFn) -> list[tuple[Snapshot, list[dict[str, Any]]]]:
    def rows(snapshot: Snapshot) -> st.SearchStrategy[list[dict[str, Any]]]:
        endpoint = st.integers(0, snapshot.endpoints.height - 1)
        return st.lists(
            st.fixed_dictionaries(
                {
                    "src_id": endpoint,
                    "dst_id": endpoint,
                    "service_id": st.none() | st.just(0),
                    "role": st.sampled_from(["canonical", "canonical", "observer"]),
                    "bytes": st.integers(0, 2**40),
                    "reply_bytes": st.integers(0, 2**40),
                }
            ),
            max_size=12,
        )

    order = draw(st.lists(st.sampled_from(SNAPSHOTS), min_size=1, max_size=3))
    return [(snapshot, draw(rows(snapshot))) for snapshot in order]


def exposed(samples: Samples) -> dict[tuple[str, ...], float]:
    keys = samples.labels.rows()
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, samples.values.to_list(), strict=True))


@settings(deadline=None, max_examples=60)
@given(windows())
def test_bytes_and_costs_equal_a_count_by_hand(history: list[tuple[Snapshot, list[dict[str, Any]]]]) -> None:
    metrics = ZoneMetrics(PRICES)
    by_zone: Counter[tuple[str, ...]] = Counter()
    paid: Counter[tuple[str, ...]] = Counter()
    for snapshot, rows in history:
        metrics.use(snapshot)
        frame = pl.DataFrame(rows, schema=SCHEMA)
        metrics.add_sums(frame)
        endpoints = snapshot.endpoints.rows(named=True)
        far = with_locality(frame, snapshot)["locality"].to_list()
        for row, locality in zip(rows, far, strict=True):
            if row["role"] != "canonical":
                continue
            ends = endpoints[row["src_id"]], endpoints[row["dst_id"]]
            for way, size in (("request", row["bytes"]), ("reply", row["reply_bytes"])):
                by_zone[ends[0]["zone"], ends[1]["zone"], locality, way] += size
            price = PRICES.per_gigabyte.get(locality, Price())
            if price == Price():
                continue
            service = ("shop", "web") if row["service_id"] == 0 else ("", "")
            for end, sent, received in ((0, "bytes", "reply_bytes"), (1, "reply_bytes", "bytes")):
                if ends[end]["kind"] in ("External", "Unknown"):
                    continue
                for direction, size in (("egress", row[sent]), ("ingress", row[received])):
                    paid[ends[end]["namespace"], *service, locality, direction, "USD"] += size
    zone, cost = metrics.samples()
    assert exposed(zone) == by_zone
    expected = {
        labels: size * getattr(PRICES.per_gigabyte[labels[3]], labels[4]) / 10**9 for labels, size in paid.items()
    }
    assert exposed(cost) == pytest.approx(expected)


def test_without_prices_there_is_no_cost() -> None:
    metrics = ZoneMetrics()
    metrics.use(SNAPSHOTS[0])
    assert [samples.metric.name for samples in metrics.samples()] == ["flowatlas_zone_bytes_total"]


def costs(metrics: ZoneMetrics) -> dict[tuple[str, ...], float]:
    """Of who pays in USD, by namespace, distance and direction."""
    return {(labels[0], *labels[3:]): value for labels, value in exposed(metrics.samples()[1]).items()}


def test_after_a_restart_with_other_prices_what_has_another_price_begins_anew() -> None:
    """A cost that is worked out anew of old bytes would jump, or fall to what Prometheus takes for growth."""
    known = dict(SNAPSHOTS[0].endpoints.select("name", "id").iter_rows())
    row = {"src_id": known["on-a1"], "dst_id": known["on-b1"], "service_id": None, "role": "canonical"}
    frame = pl.DataFrame([{**row, "bytes": 10**9, "reply_bytes": 0}], schema=SCHEMA)

    def restarted(before: ZoneMetrics, prices: Prices) -> tuple[ZoneMetrics, int]:
        after = ZoneMetrics(prices)
        misfits = restored(after.kept(), frames_of(before.kept()))
        after.use(SNAPSHOTS[0])
        return after, sum(misfits.values())

    metrics = ZoneMetrics(PRICES)
    metrics.use(SNAPSHOTS[0])
    metrics.add_sums(frame)
    metrics, misfits = restarted(metrics, PRICES)
    assert misfits == 0
    metrics.add_sums(frame)
    egress, ingress = ("cross_zone", "egress", "USD"), ("cross_zone", "ingress", "USD")
    assert costs(metrics)["shop", *egress] == 0.02
    assert costs(metrics)["stock", *ingress] == 0.04
    metrics, misfits = restarted(metrics, Prices("USD", {"cross_zone": Price(0.01, 0.2), "internet": Price(0.09)}))
    assert misfits == 2
    assert costs(metrics) == {("shop", *egress): 0.02, ("stock", *egress): 0}
    metrics.add_sums(frame)
    assert costs(metrics)["stock", *ingress] == 0.2
    assert costs(metrics)["shop", *egress] == pytest.approx(0.03)
    for other in (Prices("EUR", {"cross_zone": Price(0.01, 0.2)}), Prices("USD", {"internet": Price(0.09)})):
        after, misfits = restarted(metrics, other)
        assert (misfits, costs(after)) == (4, {})


def test_prices_are_judged_on_where_a_snapshot_does_not_tell_them() -> None:
    """As those of versions before do not; a distance may have no price any more."""
    before, after = ZoneMetrics(PRICES), ZoneMetrics(Prices("USD", {"internet": Price(0.09)}))
    before.use(SNAPSHOTS[0])
    known = dict(SNAPSHOTS[0].endpoints.select("name", "id").iter_rows())
    row = {"src_id": known["on-a1"], "dst_id": known["on-b1"], "service_id": None, "role": "canonical"}
    before.add_sums(pl.DataFrame([{**row, "bytes": 10**9, "reply_bytes": 0}], schema=SCHEMA))
    frames = {name: frame for name, frame in frames_of(before.kept()).items() if not name.startswith("prices:")}
    assert restored(after.kept(), frames) == {}
    assert set(costs(after).values()) == {0.0}


def test_flows_need_a_snapshot() -> None:
    with pytest.raises(RuntimeError, match="use"):
        ZoneMetrics().add_sums(pl.DataFrame(schema=SCHEMA))


def test_labels_stay_the_same_object_while_no_series_is_new() -> None:
    metrics = ZoneMetrics(PRICES)
    metrics.use(SNAPSHOTS[0])
    known = dict(SNAPSHOTS[0].endpoints.select("name", "id").iter_rows())
    row = {"src_id": known["on-a1"], "dst_id": known["on-b1"], "service_id": None, "role": "canonical"}
    frame = pl.DataFrame([{**row, "bytes": 10**9, "reply_bytes": 0}], schema=SCHEMA)
    metrics.add_sums(frame)
    before = metrics.samples()
    metrics.add_sums(frame)
    after = metrics.samples()
    assert all(a.labels is b.labels for a, b in zip(before, after, strict=True))
    assert exposed(after[1]) == pytest.approx(
        {
            ("shop", "", "", "cross_zone", "egress", "USD"): 0.02,
            ("shop", "", "", "cross_zone", "ingress", "USD"): 0.0,
            ("stock", "", "", "cross_zone", "egress", "USD"): 0.0,
            ("stock", "", "", "cross_zone", "ingress", "USD"): 0.04,
        }
    )
