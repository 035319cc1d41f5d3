"""Scrapers that are many, stuck, or hang up in the middle, while flows are counted: each page is of one instant, and
nothing is lost for them."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

from pipeline.outputs.prometheus import PrometheusServer
from tests.faults.ledger import Ledger, totals
from tests.faults.lives import Disk, live

SCRAPERS, STUCK, RUDE = 8, 20, 4
BATCHES = 60
READ = 40
"""Pages that are looked at in the end; parsing them is most of the work."""
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
