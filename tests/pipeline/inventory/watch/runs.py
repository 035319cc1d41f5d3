"""A watcher in a thread of its own, with short waits, and what it has said so far."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from collector.schema import Batch
from pipeline.inventory.watch.api import Api
from pipeline.inventory.watch.backoff import Backoff
from pipeline.inventory.watch.config import WatcherConfig
from pipeline.inventory.watch.watcher import Watcher
from tests.pipeline.inventory.watch import state_log
from tests.pipeline.inventory.watch.fake_api import FakeApi, wait_for

CONFIG = WatcherConfig("file://unused", mark_s=0.02, settle_s=0.05, discovery_s=0.2)


class Counts:
    """Counters that can be read."""

    def __init__(self) -> None:
        self.counted: Counter[tuple[str, ...]] = Counter()
        self.gauges: dict[tuple[str, ...], float] = {}

    def add(self, name: str, amount: float, **labels: str) -> None:
        self.counted[name, *labels.values()] += int(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        self.gauges[name, *labels.values()] = value

    def of(self, name: str, *labels: str) -> int:
        """The sum over the label values that begin like this."""
        return sum(n for key, n in self.counted.items() if key[: len(labels) + 1] == (name, *labels))


class Kept:
    """An outlet that keeps batches; `losing` ones are counted as lost."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.losing = 0
        self._lost = 0

    def send(self, batch: Batch) -> None:
        if self.losing:
            self.losing -= 1
            self._lost += batch.rows
            return
        self.batches.append(batch)

    def flush(self, timeout_s: float) -> bool:
        return True

    def lost(self) -> int:
        return self._lost


class Run:
    """One running watcher."""

    def __init__(self, kept: Kept | None = None) -> None:
        self.kept = kept or Kept()
        self.counts = Counts()
        self.failed: BaseException | None = None

    @property
    def log(self) -> state_log.Log:
        return state_log.of_batches(list(self.kept.batches))

    def until(self, condition: Callable[[state_log.Log], Any], timeout_s: float = 60.0) -> state_log.Log:
        """Wait until what was said fulfils it."""

        def holds() -> bool:
            if self.failed is not None:
                raise self.failed
            return bool(condition(self.log))

        wait_for(holds, timeout_s)
        return self.log

    def settled(self, timeout_s: float = 60.0) -> state_log.Log:
        """Wait for a mark that is later than now."""
        now = time.time_ns()
        return self.until(lambda log: log.marked_ns > now, timeout_s)


@contextmanager
def watching(
    fake: FakeApi | None,
    config: WatcherConfig = CONFIG,
    connect: Callable[[], Awaitable[httpx2.AsyncClient]] | None = None,
    watch_s: tuple[float, float] = (60.0, 90.0),
    kept: Kept | None = None,
    backoff: Callable[[], Backoff] = lambda: Backoff(0.02, 0.2),
    patience_s: float = 60.0,
) -> Iterator[Run]:
    """A watcher of the fake, or of what `connect` reaches, until the block ends. What it says goes to `kept`.

    The fake has `patience_s` to begin an answer; one that is slow for want of a processor is no fault.
    """

    async def client() -> httpx2.AsyncClient:
        assert fake is not None
        return httpx2.AsyncClient(base_url=fake.url, timeout=httpx2.Timeout(patience_s), trust_env=False)

    run = Run(kept)
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    api = Api(connect or client, watch_s)
    watcher = Watcher(config, api, run.kept, run.counts, backoff)

    def body() -> None:
        try:
            loop.run_until_complete(watcher.run(stop))
        except BaseException as error:  # noqa: BLE001 - the test's thread raises it
            run.failed = error
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    thread = threading.Thread(target=body)
    thread.start()
    try:
        yield run
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join(90)
    assert not thread.is_alive()
    if run.failed is not None:
        raise run.failed
