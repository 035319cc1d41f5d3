"""Long pages are made before they are asked for, and nobody waits for one while there is one of a moment ago."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl
import pytest

from pipeline.aggregate.samples import Samples
from pipeline.catalog import Metric
from pipeline.outputs import publication as module
from pipeline.outputs.pages import Page, PageMaker
from pipeline.outputs.publication import LONG_SERIES, WHILE_SECONDS, Publication

METRIC = Metric("flowatlas_long_series", "gauge", "", ("node",), "Many series.")
LABELS = pl.DataFrame({"node": [f"n{row}" for row in range(LONG_SERIES)]})


def samples(value: int, rows: int = LONG_SERIES) -> list[Samples]:
    return [Samples(METRIC, LABELS.head(rows), pl.Series([value] * rows, dtype=pl.UInt64))]


def value_of(page: bytes) -> int:
    values = {line.rpartition(b" ")[2] for line in gzip.decompress(page).splitlines() if not line.startswith(b"#")}
    (value,) = values
    return int(value)


class Clock:
    """What time it is; each look at a thread's processor time says that a second more went by."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._used_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def thread_time(self) -> float:
        self._used_s += 1.0
        return self._used_s


class Gate:
    """Lets pages be made, or holds whoever makes one; tells who has made how many."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.open.set()
        self.made: list[str] = []
        self.has_made = threading.Condition()
        real = PageMaker.page

        def page(maker: PageMaker, parts: object) -> Page:
            assert self.open.wait(60)
            it = real(maker, parts)  # type: ignore[arg-type] # as it was called
            with self.has_made:
                self.made.append(threading.current_thread().name)
                self.has_made.notify_all()
            return it

        monkeypatch.setattr(PageMaker, "page", page)

    def await_made(self, number: int, publication: Publication) -> None:
        """Return when so many pages are there for who asks."""
        with self.has_made:
            assert self.has_made.wait_for(lambda: len(self.made) >= number, 60)
        with publication._making:
            pass  # whoever made it has left it there


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    it = Clock()
    monkeypatch.setattr(module, "time", it)
    return it


@contextmanager
def prepared(publication: Publication) -> Iterator[None]:
    """With the thread that makes pages ahead."""
    stop = threading.Event()
    thread = threading.Thread(target=publication.prepare, args=(stop,), name="ahead")
    thread.start()
    while not publication.is_preparing:
        time.sleep(0.001)
    try:
        yield
    finally:
        stop.set()
        publication.wake()
        thread.join()


def scraped_each_second(publication: Publication, clock: Clock, gate: Gate) -> None:
    """Two publications, each asked for; who has asked for the first is expected."""
    for value in (1, 2):
        clock.now_s += 1
        publication.publish(samples(value))
        clock.now_s += 0.1
        if value > 1:
            gate.await_made(value, publication)
        assert value_of(publication.gzipped()) == value


def test_a_long_page_is_made_ahead_for_who_asks_at_intervals(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    gate, publication = Gate(monkeypatch), Publication()
    with prepared(publication):
        scraped_each_second(publication, clock, gate)
        clock.now_s += 0.9
        publication.publish(samples(3))
        gate.await_made(3, publication)
        assert value_of(publication.gzipped()) == 3
    assert gate.made == ["MainThread", "ahead", "ahead"]


def test_who_asks_while_it_is_made_has_the_one_before(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    gate, publication = Gate(monkeypatch), Publication()
    with prepared(publication):
        scraped_each_second(publication, clock, gate)
        gate.open.clear()
        clock.now_s += 0.9
        publication.publish(samples(3))
        assert value_of(publication.gzipped()) == 2
        clock.now_s += WHILE_SECONDS  # that is too old now: this one waits
        asked = threading.Thread(target=lambda: seen.append(value_of(publication.gzipped())))
        seen: list[int] = []
        asked.start()
        gate.open.set()
        asked.join()
        assert seen == [3]


def test_a_page_may_be_some_publications_old_but_not_long(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """As where the machine is overloaded: nobody waits as long as one takes to make."""
    gate, publication = Gate(monkeypatch), Publication()
    with prepared(publication):
        scraped_each_second(publication, clock, gate)
        gate.open.clear()
        for value in range(3, 3 + int(WHILE_SECONDS)):
            clock.now_s += 1
            publication.publish(samples(value))
            assert value_of(publication.gzipped()) == 2
        clock.now_s += 1
        publication.publish(samples(100))
        gate.open.set()
        assert value_of(publication.gzipped()) == 100


def test_nothing_is_made_ahead_for_who_does_not_come_yet(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    gate, publication = Gate(monkeypatch), Publication()
    with prepared(publication):
        for value in (1, 2):
            clock.now_s += 15
            publication.publish(samples(value))
            publication.gzipped()
        clock.now_s += 1
        publication.publish(samples(3))
        clock.now_s += 1
        publication.publish(samples(4))
        assert value_of(publication.gzipped()) == 4
    assert gate.made == ["MainThread"] * 3


def test_publishing_waits_for_no_page_that_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, publication = Gate(monkeypatch), Publication()
    publication.publish(samples(1))
    gate.open.clear()
    asked = threading.Thread(target=publication.gzipped)
    asked.start()
    publication.publish(samples(2))  # or it would be here for ever
    gate.open.set()
    asked.join()
    assert value_of(publication.gzipped()) == 2


def test_a_short_page_is_always_the_newest(clock: Clock) -> None:
    publication = Publication()
    with prepared(publication):
        for value in range(5):
            clock.now_s += 1
            publication.publish(samples(value, rows=3))
            assert value_of(publication.gzipped()) == value
            assert publication.text() == gzip.decompress(publication.gzipped())


def test_what_pages_take_is_told_whoever_makes_them(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    gate, publication = Gate(monkeypatch), Publication()
    with prepared(publication):
        scraped_each_second(publication, clock, gate)
        assert publication.pages_s == 2.0
        clock.now_s += 0.9
        publication.publish(samples(3))
        gate.await_made(3, publication)
        assert publication.pages_s == 3.0
        publication.gzipped("openmetrics")
        publication.gzipped("openmetrics")
        assert publication.pages_s == 4.0
