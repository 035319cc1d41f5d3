"""One page of several workers: what a scrape shows of who does not answer."""

from __future__ import annotations

import gzip
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.cli import workers_page
from pipeline.cli.worker import End
from pipeline.cli.workers_page import KEPT_SECONDS, LastPage, WorkersPublication
from pipeline.outputs.exposition import Format
from pipeline.outputs.prometheus import PrometheusServer

SECONDS = 90.0
AGE = "flowatlas_pipeline_worker_answer_age_seconds"


class Scripted:
    """A worker that has counted `rows`, or has none to show, and answers while `answers` is set."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows: int | None = 0
        self.is_gone = False
        self.answers = threading.Event()
        self.answers.set()
        self.asked = 0
        self.asking = 0
        self.most_asking = 0

    @property
    def ends(self) -> dict[End, int]:
        return {"exited": 0, "stuck": 1}

    def page(self, form: Format) -> bytes | None:
        self.asked += 1
        self.asking += 1
        self.most_asking = max(self.most_asking, self.asking)
        try:
            if self.is_gone or not self.answers.wait(SECONDS):
                return None
        finally:
            self.asking -= 1
        end = "# EOF\n" if form == "openmetrics" else ""
        shown = f"# TYPE rows_total counter\nrows_total {self.rows}\n" if self.rows is not None else ""
        return gzip.compress(f"{shown}{end}".encode())


class Pair:
    """Two workers and the page of both."""

    def __init__(self) -> None:
        self.well, self.other = Scripted("0"), Scripted("1")
        self.publication = WorkersPublication([self.well, self.other])

    def values(self, name: str) -> dict[str, float]:
        """A metric by worker, of a scrape that has to end by itself."""
        pages: list[bytes] = []
        scrape = threading.Thread(target=lambda: pages.append(self.publication.text()), daemon=True)
        scrape.start()
        scrape.join(SECONDS)
        assert pages, "the scrape waits for who does not answer"
        return {
            sample.labels["worker"]: sample.value
            for family in text_string_to_metric_families(pages[0].decode())
            for sample in family.samples
            if sample.name == name
        }


@pytest.fixture(autouse=True)
def _impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_page, "ANSWER_SECONDS", 0.05)


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Pair:
    it = Pair()
    it.well.rows, it.other.rows = 10, 5
    with monkeypatch.context() as patient:
        patient.setattr(workers_page, "SCRAPE_SECONDS", SECONDS)
        assert it.values("rows_total") == {"0": 10, "1": 5}
    return it


def until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_who_hangs_is_shown_as_it_was_and_how_long_ago_that_is(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sum over workers does not fall meanwhile; what comes late is shown by the next scrape."""
    pair.other.answers.clear()
    pair.well.rows, pair.other.rows = 11, 6
    shown = pair.values("rows_total")
    assert shown["1"] == 5
    ages = [pair.values(AGE)["1"] for _ in range(2)]
    assert 0 < ages[0] < ages[1]
    pair.other.answers.set()
    monkeypatch.setattr(workers_page, "ANSWER_SECONDS", SECONDS)
    assert pair.values("rows_total") == {"0": 11, "1": 6}
    assert pair.values(AGE) == {"0": 0, "1": 0}


def test_who_hangs_is_asked_once(pair: Pair) -> None:
    """However many scrapes come meanwhile, so that none is kept from the others by requests that pile up."""
    asked = pair.other.asked
    pair.other.answers.clear()
    for _ in range(5):
        assert pair.values("rows_total")["1"] == 5
    assert (pair.other.asked, pair.other.most_asking) == (asked + 1, 1)
    pair.other.answers.set()


def test_who_has_ended_is_shown_as_it_was(pair: Pair) -> None:
    """Its successor goes on from there, or begins at zero as after any start."""
    pair.other.is_gone = True
    assert pair.values("rows_total")["1"] == 5
    pair.other.is_gone, pair.other.rows = False, 1
    until(lambda: pair.values("rows_total")["1"] == 1)


@pytest.mark.parametrize("form", ["text", "openmetrics"])
def test_who_has_nothing_to_show_yet_is_shown_as_its_predecessor_was(pair: Pair, form: Format) -> None:
    """A worker serves before it has taken up its snapshot; a sum over workers does not fall for that."""
    until(lambda: b'rows_total{worker="1"} 5\n' in pair.publication.text(form))
    pair.well.rows, pair.other.rows = 11, None
    until(lambda: b'rows_total{worker="0"} 11\n' in pair.publication.text(form))
    assert b'rows_total{worker="1"} 5\n' in pair.publication.text(form)
    pair.other.rows = 6
    until(lambda: b'rows_total{worker="1"} 6\n' in pair.publication.text(form))


def test_who_never_answered_is_left_out_and_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair()
    monkeypatch.setattr(workers_page, "SCRAPE_SECONDS", 0.05)
    pair.other.answers.clear()
    until(lambda: set(pair.values("rows_total")) == {"0"})
    assert pair.values(AGE)["1"] > 0
    pair.other.answers.set()


def test_the_first_page_of_a_slow_one_is_waited_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """For nothing could be shown in its place."""
    pair = Pair()
    monkeypatch.setattr(workers_page, "ANSWER_SECONDS", 0.0)
    monkeypatch.setattr(workers_page, "SCRAPE_SECONDS", SECONDS)
    pair.other.answers.clear()
    threading.Timer(0.2, pair.other.answers.set).start()
    assert "1" in pair.values("rows_total")


def test_numbers_that_are_too_old_are_shown_no_more() -> None:
    with ThreadPoolExecutor(1) as pool:
        page = LastPage(Scripted("0"), "text", pool)
        page.ask().result(SECONDS)
        now_s = time.monotonic()
        assert page.last(now_s + KEPT_SECONDS - 1) is not None
        assert page.last(now_s + KEPT_SECONDS + 1) is None
        assert page.last(now_s) is None, "they are not kept for nobody"


@pytest.mark.parametrize("form", ["text", "openmetrics"])
@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_the_server_serves_it(pair: Pair, form: Format, coding: str) -> None:
    """In either format, and compressed for who takes that."""
    accept = {"text": "text/plain", "openmetrics": "application/openmetrics-text; version=1.0.0"}[form]

    def text() -> bytes:
        request = urllib.request.Request(url, headers={"Accept": accept, "Accept-Encoding": coding})
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 - our own server
            body: bytes = answer.read()
            return gzip.decompress(body) if answer.headers["Content-Encoding"] == "gzip" else body

    with PrometheusServer(("127.0.0.1", 0), pair.publication, lambda: True) as server:
        url = f"http://127.0.0.1:{server.address[1]}/metrics"
        until(lambda: b'rows_total{worker="1"} 5\n' in text())
        shown = text()
    assert shown.endswith(b"# EOF\n") is (form == "openmetrics")
    assert b'flowatlas_pipeline_worker_restarts_total{worker="1",reason="stuck"} 1' in shown
