"""When a parent takes a worker for stuck, by what its /healthz says; the process is a real one that does nothing."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cli.worker import START_SECONDS, STUCK_SECONDS, Worker
from pipeline.config import PipelineConfig
from pipeline.outputs.prometheus import PrometheusServer
from pipeline.outputs.publication import Publication


class Idler(Worker):
    """One whose process says that it serves at `port`, or never says so."""

    def __init__(self, port: int | None) -> None:
        super().__init__("0", PipelineConfig(bus="file:///unused", state=Path("unused")), None)
        self._serves = port

    def _start(self, now: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=time.sleep, args=(600,))
        self.process.start()
        self._started_at = now
        if self._serves is not None:
            theirs.send(self._serves)

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
        self.stop(time.monotonic() + 60)


class Health:
    """What /healthz of a worker says."""

    is_well = True

    def __call__(self) -> bool:
        return self.is_well


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def worker(health: Health) -> Iterator[Idler]:
    with PrometheusServer(("127.0.0.1", 0), Publication(), lambda: True, is_alive=health) as server:
        it = Idler(server.address[1])
        now = time.monotonic()
        it.tend(now)  # starts it
        it.tend(now)  # learns where it serves
        yield it
        it.end()


def ended(worker: Worker, now: float) -> bool:
    """Whether it is killed at that time; its end is then awaited."""
    assert worker.process is not None
    assert worker.tend(now) is None
    if not worker.is_killed:
        return False
    worker.process.join()
    return worker.tend(now) == -9


def test_one_that_says_no_for_long_is_killed_and_starts_again(worker: Idler, health: Health) -> None:
    health.is_well = False
    worker.look()
    later = time.monotonic()
    assert not ended(worker, later)
    worker.look()
    assert ended(worker, later + STUCK_SECONDS + 1)
    assert worker.ends == {"exited": 0, "stuck": 1}
    worker.tend(later + STUCK_SECONDS + 2)
    assert worker.process is not None
    assert not ended(worker, later + STUCK_SECONDS + 3), "the next one has its own time"


def test_one_that_is_well_in_between_is_left_alone(worker: Idler, health: Health) -> None:
    health.is_well = False
    worker.look()
    health.is_well = True
    worker.look()
    assert not ended(worker, time.monotonic() + 10 * STUCK_SECONDS)


def test_one_that_ends_by_itself_is_told_apart(worker: Idler) -> None:
    assert worker.process is not None
    worker.process.kill()
    worker.process.join()
    assert worker.tend(time.monotonic()) == -9
    assert worker.ends == {"exited": 1, "stuck": 0}


def test_one_that_never_serves_is_stuck_too() -> None:
    worker = Idler(None)
    now = time.monotonic()
    worker.tend(now)
    try:
        assert not ended(worker, now + START_SECONDS - 1)
        assert ended(worker, now + START_SECONDS + 1)
        assert worker.ends == {"exited": 0, "stuck": 1}
    finally:
        worker.end()
