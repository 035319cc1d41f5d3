"""How far apart two ends are, told by labels and never guessed."""

from __future__ import annotations

import polars as pl
import pytest

from pipeline.attribution.zones import with_locality, zones_of
from pipeline.inventory.snapshot import Snapshot
from tests.pipeline.zoned_cluster import zoned_cluster

SNAPSHOT = zoned_cluster()


def ids(snapshot: Snapshot) -> dict[str, int]:
    return dict(snapshot.endpoints.select("name", "id").iter_rows())


def locality(snapshot: Snapshot, source: str, destination: str) -> str:
    known = ids(snapshot)
    row = pl.DataFrame(
        {"src_id": [known[source]], "dst_id": [known[destination]]}, schema={"src_id": pl.UInt32, "dst_id": pl.UInt32}
    )
    told = with_locality(row, snapshot)
    assert told.columns == ["src_id", "dst_id", "locality"]
    return str(told["locality"][0])


@pytest.mark.parametrize(
    ("source", "destination", "told"),
    [
        ("on-a1", "a1", "same_node"),
        ("on-a1", "on-a1", "same_node"),
        ("on-a1", "on-a2", "same_zone"),
        ("on-a1", "on-b1", "cross_zone"),
        ("on-a1", "on-c1", "cross_region"),
        ("on-a1", "on-eu-only", "same_region"),
        ("on-c1", "on-eu-only", "cross_region"),
        ("on-a1", "on-bare", "unknown"),
        ("on-bare", "bare", "same_node"),
        ("on-a1", "outside", "internet"),
        ("on-a1", "partner", "internet"),
        ("on-a1", "storage", "same_region"),
        ("on-c1", "storage", "cross_region"),
        ("on-a1", "private", "unknown"),
        ("on-a1", "cloud-metadata", "unknown"),
        ("on-a1", "unknown", "unknown"),
        ("on-a1", "web", "unknown"),
        ("outside", "outside", "internet"),
    ],
)
def test_distance(source: str, destination: str, told: str) -> None:
    """It is the same from either end."""
    assert locality(SNAPSHOT, source, destination) == told
    assert locality(SNAPSHOT, destination, source) == told


def test_numbers_of_places_stay_when_endpoints_are_added_behind() -> None:
    """Totals keep what they know of them while the numbering is the same."""
    before = zones_of(SNAPSHOT)
    endpoints = SNAPSHOT.endpoints
    more = endpoints.tail(1).with_columns(
        id=pl.lit(endpoints.height, pl.UInt32),
        kind=pl.lit("Pod").cast(endpoints["kind"].dtype),
        zone=pl.lit("z"),
        node=pl.lit("n"),
    )
    after = zones_of(Snapshot(**{**vars(SNAPSHOT), "endpoints": pl.concat([endpoints, more])}))
    assert after.place[: endpoints.height].equals(before.place)
    assert after.node[: endpoints.height].equals(before.node)
    assert after.places[: before.places.height].equals(before.places)
    assert after.places.height == before.places.height + 1
