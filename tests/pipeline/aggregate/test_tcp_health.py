"""TCP health equals a count by hand, whatever the windows and snapshots were."""

from __future__ import annotations

from collections import Counter
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.aggregate.samples import SUM, Samples
from pipeline.aggregate.tcp_health import TcpHealthMetrics
from pipeline.attribution.roles import ROLES
from pipeline.inventory.snapshot import Snapshot
from tests.pipeline.small_cluster import pod, small_cluster

SNAPSHOTS = (small_cluster(), small_cluster(pod("aaa", "node-a", "10.0.1.77", namespace="aaa")))
TOLD = ("connect_us", "srtt_us", "retransmits")
SCHEMA = pl.Schema(
    {
        "src_id": pl.UInt32(),
        "dst_id": pl.UInt32(),
        "service_id": pl.UInt32(),
        "role": ROLES,
        **dict.fromkeys(TOLD, pl.UInt32()),
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
                    "service_id": st.none() | st.integers(0, snapshot.services.height - 1),
                    "role": st.sampled_from(["canonical", "canonical", "observer", "overlay"]),
                    **{name: st.just(0) | st.integers(0, 12_000_000) for name in TOLD},
                }
            ),
            max_size=12,
        )

    order = draw(st.lists(st.sampled_from(SNAPSHOTS), min_size=1, max_size=3))
    return [(snapshot, draw(rows(snapshot))) for snapshot in order]


def histogram(samples: Samples) -> dict[tuple[str, ...], dict[str, float]]:
    keys = samples.labels.rows()
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, samples.values.to_list(), strict=True))


@settings(deadline=None, max_examples=60)
@given(windows())
def test_times_and_segments_equal_a_count_by_hand(history: list[tuple[Snapshot, list[dict[str, Any]]]]) -> None:
    metrics = TcpHealthMetrics()
    times: dict[str, Counter[tuple[tuple[str, ...], int]]] = {"connect_us": Counter(), "srtt_us": Counter()}
    resent: Counter[tuple[str, ...]] = Counter()
    for snapshot, rows in history:
        metrics.use(snapshot)
        metrics.add(pl.DataFrame(rows, schema=SCHEMA))
        endpoints, services = snapshot.endpoints.rows(named=True), snapshot.services.rows(named=True)
        for row in rows:
            if row["role"] == "overlay":
                continue
            source, destination = endpoints[row["src_id"]], endpoints[row["dst_id"]]
            service = services[row["service_id"]] if row["service_id"] is not None else Counter[str]()
            labels = (
                *(destination[field] for field in ("namespace", "workload", "workload_kind")),
                service["service_namespace"] or "",
                service["service"] or "",
            )
            if row["connect_us"]:
                times["connect_us"][labels, row["connect_us"]] += 1
            if row["srtt_us"] and row["role"] == "canonical":
                times["srtt_us"][labels, row["srtt_us"]] += 1
            pair = tuple(end[f] for end in (source, destination) for f in ("namespace", "workload", "workload_kind"))
            if row["retransmits"]:
                resent[pair] += row["retransmits"]
    connects, round_trips, segments = metrics.samples()
    assert dict(zip(segments.labels.rows(), segments.values.to_list(), strict=True)) == resent
    for samples, observed in ((connects, times["connect_us"]), (round_trips, times["srtt_us"])):
        found = histogram(samples)
        assert found.keys() == {labels for labels, _ in observed}
        for labels, values in found.items():
            mine = [us for (some, us), count in observed.items() if some == labels for _ in range(count)]
            assert values["+Inf"] == len(mine)
            assert values[SUM] == pytest.approx(sum(mine) / 1e6)
            for bound in samples.metric.buckets:
                assert values[repr(bound)] == sum(us <= round(bound * 1e6) for us in mine)


def test_flows_that_were_never_asked_about_it_have_none() -> None:
    """Rows of a file, for example."""
    metrics = TcpHealthMetrics()
    metrics.use(SNAPSHOTS[0])
    metrics.add(pl.DataFrame(schema=SCHEMA).drop(TOLD))
    assert [samples.series for samples in metrics.samples()] == [0, 0, 0]
