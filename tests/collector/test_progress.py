"""Probes see a loop that is stuck, and none where it waits for what is away."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from collector.agent import Agent
from collector.config import CollectorConfig
from collector.errors import TransientError
from collector.metrics import Metrics, MetricsServer
from collector.progress import Progress
from collector.schema import FLOWS, Batch
from collector.sources import Columns
from pipeline.outputs.prometheus import PrometheusServer
from pipeline.outputs.publication import Publication


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_loop_that_tells_no_turn_for_long_is_stuck_until_it_does() -> None:
    clock = Clock()
    progress = Progress(10.0, clock)
    progress.ready()
    clock.now_s = 10.0
    assert (progress.is_going(), progress.is_ready()) == (True, True)
    clock.now_s = 10.1
    assert (progress.is_going(), progress.is_ready()) == (False, False)
    progress.turn()
    assert (progress.is_going(), progress.is_ready()) == (True, True)


def test_going_is_not_yet_ready() -> None:
    progress = Progress()
    assert (progress.is_going(), progress.is_ready()) == (True, False)


class Held:
    """A source whose reads wait until they are let go."""

    table = "flows"

    def __init__(self) -> None:
        self.go = threading.Event()

    def start(self) -> None: ...

    def read(self, now_ns: int) -> Columns:
        self.go.wait(30)
        return {name: [] for name in FLOWS.columns_of(1)}

    finish = read

    def stop(self) -> None: ...


class Bus:
    """A sink that is away for its first calls."""

    def __init__(self, away: int) -> None:
        self.away = away

    def start(self) -> None:
        self.away -= 1
        if self.away >= 0:
            raise TransientError("nobody there")

    def send(self, batch: Batch) -> None: ...

    def flush(self, timeout_s: float) -> bool:
        return True

    def stop(self) -> None: ...


def ask(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def running() -> Iterator[tuple[Held, Metrics, int]]:
    metrics, source, stop = Metrics(), Held(), threading.Event()
    config = CollectorConfig("n", "file:///unused", interval_s=0.05)
    agent = Agent(config, metrics, [source], Bus(away=1))
    thread = threading.Thread(target=agent.run, args=(stop,))
    with MetricsServer(metrics, "127.0.0.1:0") as server:
        thread.start()
        yield source, metrics, server.port
        source.go.set()
        stop.set()
        thread.join()


def test_a_collector_whose_read_hangs_is_seen_by_its_probes(running: tuple[Held, Metrics, int]) -> None:
    source, metrics, port = running
    assert (ask(port, "/healthz"), ask(port, "/readyz")) == (200, 503)
    until(lambda: metrics.progress.patience_s == 120.0)  # it reads now
    metrics.progress.patience_s = 0.2
    until(lambda: ask(port, "/healthz") == 503)
    source.go.set()
    until(lambda: (ask(port, "/healthz"), ask(port, "/readyz")) == (200, 200))
    assert ask(port, "/metrics") == 200


def test_a_pipeline_that_is_stuck_says_so() -> None:
    clock = Clock()
    progress = Progress(1.0, clock)
    with PrometheusServer(("127.0.0.1", 0), Publication(), lambda: True, is_alive=progress.is_going) as server:
        port = server.address[1]
        assert ask(port, "/healthz") == 200
        clock.now_s = 2.0
        assert ask(port, "/healthz") == 503
