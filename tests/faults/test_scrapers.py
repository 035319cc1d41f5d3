"""Scrapers that are many, stuck, or hang up in the middle, while flows are counted: each page is of one instant, and
nothing is lost for them."""

from __future__ import annotations

import http.client
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median

import polars as pl
import pytest

from collector.schema import FLOWS
from pipeline.aggregate.samples import Samples
from pipeline.bus.files import FileReader
from pipeline.catalog import Metric
from pipeline.outputs.prometheus import MAX_CONNECTIONS, PrometheusServer
from pipeline.outputs.publication import Publication
from tests.faults.bomb import rss
from tests.faults.counts import IS_ALL, tell
from tests.faults.ledger import Ledger, totals
from tests.faults.lives import GROUP, Disk, live

SCRAPERS, STUCK, RUDE = 8, 20, 4
BATCHES = 60
READ = 40
"""Pages that are looked at in the end; parsing them is most of the work."""
PARALLEL = 100
SERIES = 200_000
MINUTES, TURN_BATCHES = 10, 300
_RESET = struct.pack("ii", 1, 0)


class Scrapers:
    """Threads that ask `server` until told to stop."""

    def __init__(self, server: PrometheusServer) -> None:
        self.pages: list[str] = []
        self.hung_up = 0
        self._server = server
        self._ended = threading.Event()
        kinds = [self._read] * SCRAPERS + [self._hang_up] * RUDE
        self._threads = [threading.Thread(target=kind) for kind in kinds]
        self._stuck = [socket.create_connection(server.address, timeout=60) for _ in range(STUCK)]
        for number, one in enumerate(self._stuck):
            one.sendall(b"GET /metrics HTTP/1.1\r\n" if number % 2 else b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        for one in self._stuck:
            one.close()

    def _read(self) -> None:
        while not self._ended.wait(0.01):
            connection = http.client.HTTPConnection(*self._server.address, timeout=60)
            with suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/metrics")
                answer = connection.getresponse()
                if answer.status == 200:
                    self.pages.append(answer.read().decode())
            connection.close()

    def _hang_up(self) -> None:
        while not self._ended.wait(0.01):
            with suppress(OSError), socket.create_connection(self._server.address, timeout=60) as one:
                one.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                one.recv(10)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self.hung_up += 1


def test_whoever_scrapes_however_sees_one_instant_and_costs_no_flow(tmp_path: Path) -> None:
    disk = Disk(tmp_path, Ledger(20), left=BATCHES)
    with ExitStack() as stack:
        scrapers: list[Scrapers] = []

        def turn() -> None:
            if not scrapers:
                server = stack.enter_context(PrometheusServer(("127.0.0.1", 0), disk.publication, lambda: True))
                scrapers.append(Scrapers(server))
                stack.callback(scrapers[0].stop)

        assert live(disk, on_turn=turn) == 0
    print(account := disk.account())
    assert account.unexplained == {}
    (them,) = scrapers
    pages = list(dict.fromkeys(them.pages))
    sums = [totals(page) for page in pages[:: max(1, len(pages) // READ)]]
    assert all(one["flowatlas_pipeline_rows_total"] == one["flowatlas_connections_total"] for one in sums)
    seen = {one["flowatlas_pipeline_rows_total"] for one in sums}
    assert len(seen) > 10, "pages of many instants were seen"
    assert them.hung_up > 0


def test_a_hundred_scrapers_that_stop_reading_hold_less_than_one_page_together() -> None:
    publication = Publication()
    metric = Metric("flowatlas_long_bytes_total", "counter", "bytes", ("node",), "Many series.")
    names = pl.Series("node", [f"node-{row}-of-a-cluster-whose-nodes-have-long-names" for row in range(SERIES)])
    publication.publish([Samples(metric, names.to_frame(), pl.Series(range(SERIES), dtype=pl.UInt64))])
    size = len(publication.text())
    with PrometheusServer(("127.0.0.1", 0), publication, lambda: True) as server, ExitStack() as stack:
        before = rss()
        them = []
        for _ in range(PARALLEL):
            them.append(stack.enter_context(socket.create_connection(server.address, timeout=60)))
            them[-1].sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        answers = [one.recv(12) for one in them]
        more = rss() - before
    served = sum(answer.endswith(b"200") for answer in answers)
    tell(f"{served} of {PARALLEL} scrapers have begun to read {size:,} bytes each; {more:,} bytes more are held")
    assert served == MAX_CONNECTIONS
    assert sum(answer.endswith(b"503") for answer in answers) == PARALLEL - MAX_CONNECTIONS
    assert size > 15_000_000
    assert more < size


class Filled(Disk):
    """All is on the bus before the life begins, which ends when all was read."""

    reader: FileReader

    def fill(self) -> None:
        while self.left > 1:
            super().ship()
        self.reader = FileReader(f"file://{self.root / 'bus'}", GROUP, [FLOWS.topic])

    def ship(self) -> None:
        self.left -= self.reader.caught_up()


def turn_of(root: Path, *, is_scraped: bool) -> tuple[float, float]:
    """What a row costs the thread that counts, in seconds of the processor and of the clock."""
    root.mkdir()
    disk = Filled(root, Ledger(20, rows=5_000), left=TURN_BATCHES, flush_rows=200_000)
    disk.fill()
    began: list[tuple[float, float]] = []
    with ExitStack() as stack:

        def begin() -> None:
            if not began and is_scraped:
                server = stack.enter_context(PrometheusServer(("127.0.0.1", 0), disk.publication, lambda: True))
                command = [sys.executable, "-m", "tests.faults.scraping", *map(str, server.address)]
                scraping = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
                stack.callback(scraping.kill)
                assert scraping.stdout is not None
                assert scraping.stdout.readline(), "a hundred have asked"
            if not began:
                began.append((time.thread_time(), time.monotonic()))

        assert live(disk, on_turn=begin, reader=disk.reader, window_s=1.0) == 0
        ended = time.thread_time(), time.monotonic()
    thread_s, clock_s = (end - begin for begin, end in zip(began[0], ended, strict=True))
    assert disk.account().unexplained == {}
    return thread_s / disk.ledger.rows, clock_s / disk.ledger.rows


@pytest.mark.skipif(not IS_ALL, reason="a figure, for FLOWATLAS_FAULTS=all")
def test_scrapers_take_next_to_nothing_from_counting(tmp_path: Path) -> None:
    """Ten minutes in all, with and without scrapers by turns, all on the bus beforehand."""
    costs: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    ends_s = time.monotonic() + MINUTES * 60
    while time.monotonic() < ends_s:
        for is_scraped, them in costs.items():
            folder = tmp_path / f"{len(them)}-{is_scraped}"
            them.append(turn_of(folder, is_scraped=is_scraped))
            shutil.rmtree(folder)
    (thread, clock), (scraped_thread, scraped_clock) = (
        [median(kind) for kind in zip(*them, strict=True)] for them in costs.values()
    )
    times = f"{scraped_thread / thread:.3f} times the processor and {scraped_clock / clock:.3f} the clock"
    tell(f"{len(costs[True])} turns each: with scrapers a row costs the thread that counts {times}")
    assert scraped_thread <= 1.05 * thread
