"""Bytes beyond the cluster equal a row-at-a-time count, with and without a bound on networks."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.demo import mmdb
from pipeline.aggregate.external import ExternalMetrics
from pipeline.aggregate.samples import Samples
from pipeline.attribution.roles import ROLES
from pipeline.geo import Geo
from pipeline.inventory.addresses import parse
from pipeline.inventory.snapshot import Snapshot
from tests.pipeline.small_cluster import pod, small_cluster

SNAPSHOTS = (small_cluster(), small_cluster(pod("aaa", "node-a", "10.0.1.77", namespace="aaa")))
SCHEMA = pl.Schema(
    {
        "src_id": pl.UInt32(),
        "dst_id": pl.UInt32(),
        "src_network": pl.UInt32(),
        "dst_network": pl.UInt32(),
        "role": ROLES,
        "bytes": pl.UInt64(),
        "reply_bytes": pl.UInt64(),
    }
)
COUNTRIES = ("", "DE", "FR")


class ByLastOctet:
    """10 systems over two countries and none."""

    def get(self, ip_address: IPv4Address | IPv6Address) -> Any:
        octet = int(ip_address) & 0xFF
        return {**mmdb.country(COUNTRIES[octet % 3]), **mmdb.system(64_500 + octet, f"net {octet}")}


def geo_of(octets: int) -> Geo:
    """Networks 1 to `octets` are those of the addresses 203.0.113.1 and so on."""
    geo = Geo([ByLastOctet()])
    halves = [parse(f"203.0.113.{octet}") for octet in range(1, octets + 1)]
    hi, lo = (pl.Series([half[place] for half in halves], dtype=pl.UInt64) for place in (0, 1))
    assert geo.numbers(hi, lo, pl.repeat(value=True, n=octets, eager=True)).to_list() == list(range(1, octets + 1))
    return geo


def exposed(samples: Samples) -> dict[tuple[str, ...], int]:
    keys = samples.labels.rows()
    assert len(set(keys)) == len(keys)
    return {key: value for key, value in zip(keys, samples.values.to_list(), strict=True) if value}


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "src_id": st.integers(0, 6),
            "dst_id": st.integers(0, 6),
            "src_network": st.none() | st.integers(0, 9),
            "dst_network": st.none() | st.integers(0, 9),
            "role": st.sampled_from(["canonical", "canonical", "observer"]),
            "bytes": st.integers(0, 2**40),
            "reply_bytes": st.integers(0, 2**40),
        }
    ),
    max_size=15,
)


@pytest.mark.parametrize("most", [1000, 4])
@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(SNAPSHOTS), ROWS), min_size=1, max_size=3))
def test_bytes_equal_a_count_by_hand(most: int, history: list[tuple[Snapshot, list[dict[str, Any]]]]) -> None:
    geo = geo_of(9)
    metrics, counted = ExternalMetrics(geo, max_networks=most), Counter[tuple[str, ...]]()
    for snapshot, rows in history:
        metrics.use(snapshot)
        metrics.add(pl.DataFrame(rows, schema=SCHEMA))
        for row in rows:
            is_out = row["src_network"] is None
            if row["role"] != "canonical" or is_out == (row["dst_network"] is None):
                continue
            own = snapshot.endpoints.row(row["src_id" if is_out else "dst_id"], named=True)
            number = row["dst_network" if is_out else "src_network"]
            country, asn, organisation = geo.networks.row(number)
            network = (country, str(asn or ""), organisation) if number < most else (country, "other", "")
            for direction, measure in (("egress", "bytes"), ("ingress", "reply_bytes")):
                sent = measure if is_out else {"bytes": "reply_bytes", "reply_bytes": "bytes"}[measure]
                key = (own["namespace"], own["workload"], own["workload_kind"], direction, *network)
                counted[key] += row[sent]
    (samples,) = metrics.samples()
    assert exposed(samples) == {key: count for key, count in counted.items() if count}


def test_labels_stay_the_same_object_while_the_series_do() -> None:
    metrics = ExternalMetrics(geo_of(2))
    row = {"src_id": 1, "dst_id": 0, "dst_network": 1, "role": "canonical", "bytes": 3, "reply_bytes": 4}
    metrics.use(SNAPSHOTS[0])
    metrics.add(pl.DataFrame([row], schema=SCHEMA))
    (first,) = metrics.samples()
    metrics.add(pl.DataFrame([row], schema=SCHEMA))
    (second,) = metrics.samples()
    assert second.labels is first.labels
    assert (first.values.to_list(), second.values.to_list()) == ([3, 4], [6, 8])


def test_flows_before_a_snapshot_are_a_mistake() -> None:
    with pytest.raises(RuntimeError, match="snapshot"):
        ExternalMetrics(geo_of(1)).add(pl.DataFrame(schema=SCHEMA))
