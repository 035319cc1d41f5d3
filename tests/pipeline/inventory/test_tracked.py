"""Frames of slow facts: the same function for a dump and for a history, with spans and numbers that stay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from pipeline.inventory.history import History
from pipeline.inventory.models import Resource, Service
from pipeline.inventory.snapshot import build
from pipeline.inventory.spans import BEGINNING, END
from pipeline.inventory.tracked import Track, TrackedFrame
from tests.pipeline.inventory.changes import Told, at, pod, seconds, service


def doors(objects: Sequence[Resource]) -> Iterator[tuple[str, int]]:
    """Service and port; the same twice makes one row."""
    for item in objects:
        if isinstance(item, Service):
            yield from [(item.metadata.name, port.port) for port in item.spec.ports or []] * 2


DOORS = TrackedFrame("doors", pl.Schema({"service": pl.String(), "port": pl.Int64()}), (Service,), doors, "door_id")


class Watched(Told):
    """A history with the frame of doors."""

    def __init__(self, *first: Resource) -> None:
        self.history = History(tracked=(DOORS,), keep_s=80)
        self.relist(0, *first)

    def doors(self) -> list[tuple[int, str, int, float, float]]:
        rows = self.history.snapshot().tracked["doors"].rows()
        return [(number, name, port, seconds(since), seconds(until)) for number, name, port, since, until in rows]


def test_a_dumps_rows_hold_always() -> None:
    frame = build([service("web", "10.96.0.1"), pod("a")], tracked=(DOORS,)).tracked["doors"]
    assert frame.schema == DOORS.schema
    assert frame.rows() == [(0, "web", 80, BEGINNING, END)]


def test_rows_begin_and_end_with_the_change_and_a_returning_one_is_new() -> None:
    told = Watched(service("web", "10.96.0.1"))
    told.put(10, service("web", "10.96.0.1", port=81))
    told.put(20, service("web", "10.96.0.1"))
    forever = float("inf")
    assert told.doors() == [
        (0, "web", 80, -forever, 10),
        (1, "web", 81, 10, 20),
        (2, "web", 80, 20, forever),
    ]


def test_when_somebody_looks_changes_nothing() -> None:
    """Changes within a quarter of a second count from its beginning, whether a snapshot was taken in between or not."""
    for looks in (False, True):
        told = Watched()
        for number, when in enumerate((10.05, 10.15, 10.30)):
            told.put(when, service(f"s{number}", f"10.96.0.{number}"))
            if looks:
                told.history.snapshot()
        told.delete(10.4, "Service", "s0")
        rows = [(name, since, until) for _, name, _, since, until in told.doors()]
        forever = float("inf")
        assert rows == [("s0", 10, 10.25), ("s1", 10, forever), ("s2", 10.25, forever)], looks


def test_a_change_of_other_kinds_leaves_the_frame_the_same_object() -> None:
    told = Watched(service("web", "10.96.0.1"))
    before = told.history.snapshot()
    told.put(10, pod("a", "10.0.1.5"))
    assert told.history.snapshot() is not before
    assert told.history.snapshot().tracked["doors"] is before.tracked["doors"]


def test_rows_that_ended_are_dropped_in_bulk_and_the_rest_is_numbered_anew() -> None:
    track = Track(DOORS)
    track.update([service("web", "10.96.0.1"), service("api", "10.96.0.2")], at(0))
    track.update([service("api", "10.96.0.2")], at(10))
    assert track.closed == 1
    assert not track.forget(at(9))
    assert track.forget(at(10))
    assert track.frame().rows() == [(0, "api", 80, at(0), END)]
    track.update([], at(20))
    assert track.frame()["until"].to_list() == [at(20)]
