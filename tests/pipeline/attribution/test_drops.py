"""Drops are attributed by the packet's own ends, as of the moment, and summed once."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from collector.schema import DROPS, UTF8
from pipeline.aggregate.drops import DropMetrics
from pipeline.attribution.drops import attribute_drops
from pipeline.inventory.addresses import parse
from tests.pipeline.small_cluster import pod, small_cluster

SCHEMA = {
    name: pl.String() if kind == UTF8 else pl.Series(np.empty(0, kind)).dtype for name, kind in DROPS.columns.items()
}


def drops(*rows: tuple[str, str, str, int, int]) -> pl.DataFrame:
    """Rows of source, destination, reason, packets and bytes, seen by node-a."""
    records: list[dict[str, Any]] = []
    for source, destination, reason, packets, size in rows:
        (src_hi, src_lo), (dst_hi, dst_lo) = parse(source), parse(destination)
        records.append(
            {
                "time": 1_700_000_000_000_000_000,
                "src_hi": src_hi,
                "src_lo": src_lo,
                "dst_hi": dst_hi,
                "dst_lo": dst_lo,
                "src_port": 40_000,
                "dst_port": 5432,
                "protocol": 6,
                "reason": reason,
                "packets": packets,
                "bytes": size,
            }
        )
    return pl.DataFrame(records, schema=SCHEMA).with_columns(node=pl.lit("node-a", pl.Categorical))


def test_ends_are_pods_services_and_the_outside() -> None:
    snapshot = small_cluster()
    given = drops(
        ("10.0.1.5", "10.0.2.7", "netfilter_drop", 1, 60),
        ("10.0.2.7", "10.0.1.5", "no_socket", 1, 60),
        ("10.0.1.5", "10.96.0.7", "netfilter_drop", 1, 60),
        ("203.0.113.9", "192.0.2.10", "no_socket", 1, 60),
        ("10.0.1.200", "10.0.2.7", "no_socket", 1, 60),
    )
    attributed = attribute_drops(given, snapshot)
    assert attributed.select(given.columns).equals(given)
    names = snapshot.endpoints.select("kind", "name").rows()
    assert [tuple(names[row[end]] for end in ("src_id", "dst_id")) for row in attributed.rows(named=True)] == [
        (("Pod", "front-1-x"), ("Pod", "database-0")),
        (("Pod", "database-0"), ("Pod", "front-1-x")),
        (("Pod", "front-1-x"), ("Service", "database")),
        (("External", "outside"), ("Node", "node-a")),
        (("Unknown", "unknown"), ("Pod", "database-0")),
    ]


def test_packets_and_bytes_are_summed_by_workload_and_reason_over_snapshots() -> None:
    metrics = DropMetrics()
    for snapshot in (small_cluster(), small_cluster(pod("aaa", "node-a", "10.0.1.77", namespace="aaa"))):
        given = drops(
            ("10.0.1.5", "10.0.2.7", "netfilter_drop", 2, 120),
            ("10.0.2.5", "10.0.2.7", "netfilter_drop", 3, 180),
            ("10.0.1.5", "10.0.2.7", "tcp_csum", 1, 40),
        )
        metrics.add(attribute_drops(given, snapshot), snapshot)
    packets, size = metrics.samples()
    pair = ("shop", "front", "Deployment", "shop", "database", "StatefulSet")
    expected = {(*pair, "netfilter_drop"): (10, 600), (*pair, "tcp_csum"): (2, 80)}
    assert dict(zip(packets.labels.rows(), packets.values.to_list(), strict=True)) == {
        labels: values[0] for labels, values in expected.items()
    }
    assert dict(zip(size.labels.rows(), size.values.to_list(), strict=True)) == {
        labels: values[1] for labels, values in expected.items()
    }
