"""Services over time, scenario by scenario: where they were dialled, and who answered for them."""

from __future__ import annotations

import polars as pl

from tests.pipeline.inventory.changes import Told, at, seconds, service, slices

FOREVER = float("inf")


def dialled(told: Told) -> list[tuple[str, int, float, float]]:
    snapshot = told.history.snapshot()
    joined = snapshot.dialled.join(snapshot.services, on="service_id").sort("since")
    rows = joined.select("service", pl.col("port"), "since", "until").rows()
    return [(name, port, seconds(since), seconds(until)) for name, port, since, until in rows]


def test_a_service_is_dialled_from_its_creation_to_its_end() -> None:
    told = Told(service("web", "10.96.0.1"))
    told.put(10.5, service("api", "10.96.0.2", created=10))
    told.delete(20, "Service", "web")
    assert dialled(told) == [("web", 80, -3600, 20), ("api", 80, 10, FOREVER)]


def test_a_service_made_anew_at_the_same_address_follows_the_old_one() -> None:
    told = Told(service("web", "10.96.0.1"))
    told.delete(20.4, "Service", "web")
    told.put(20.6, service("web", "10.96.0.1", created=20, uid="other"))
    assert dialled(told) == [("web", 80, -3600, 20.4), ("web", 80, 20.4, FOREVER)]
    assert told.spans("10.96.0.1") == [("web", -3600, 20.4), ("web", 20.4, FOREVER)]


def test_an_address_that_passed_to_another_service_while_nobody_watched_may_have_been_either_s() -> None:
    """The API server was away from 10 to 30. Backends are known from when they were told."""
    told = Told(service("web", "10.96.0.1"), service("same", "10.96.0.2"))
    told.history.mark(at(10))
    told.delete(30, "Service", "web", watched=False)
    told.delete(30, "Service", "same", watched=False)
    told.put(30, service("api", "10.96.0.1", created=20), service("same", "10.96.0.2", created=20, uid="other"))
    rows = dialled(told)
    assert [row for row in rows if row[0] != "same"] == [("web", 80, -3600, 30), ("api", 80, 20, FOREVER)]
    assert [row for row in rows if row[0] == "same"] == [("same", 80, -3600, 30), ("same", 80, 30, FOREVER)]


def test_a_port_that_changes_is_another_service_port_from_then_on() -> None:
    told = Told(service("web", "10.96.0.1"), slices("web", "10.0.1.5"))
    told.put(10, service("web", "10.96.0.1", port=81))
    assert dialled(told) == [("web", 80, -3600, 10), ("web", 81, 10, FOREVER)]
    backends = told.history.snapshot().backends.sort("since").select("service_id", "since", "until").rows()
    assert [(number, seconds(since), seconds(until)) for number, since, until in backends] == [
        (0, -3600, 10),
        (1, 10, FOREVER),
    ]


def test_backends_come_and_go_with_the_slices() -> None:
    told = Told(service("web", "10.96.0.1"), slices("web", "10.0.1.5"))
    told.put(10, slices("web", "10.0.1.5", "10.0.1.6"))
    told.put(20, slices("web", "10.0.1.6"))
    told.put(25, slices("web", "10.0.1.6", name="web-y"))
    told.delete(30, "EndpointSlice", "web-x")
    told.delete(40, "EndpointSlice", "web-y")
    rows = told.history.snapshot().backends.sort("since").select("addr_lo", "since", "until").rows()
    assert [(lo & 0xFF, seconds(since), seconds(until)) for lo, since, until in rows] == [(5, -3600, 20), (6, 10, 40)]


def test_slices_may_come_before_their_service() -> None:
    told = Told()
    told.put(1, slices("web", "10.0.1.5"))
    assert told.history.snapshot().backends.is_empty()
    told.put(2, service("web", "10.96.0.1", created=1))
    assert told.history.snapshot().backends.height == 1
    told.delete(3, "Service", "web")
    assert seconds(told.history.snapshot().backends["until"][0]) == 3
