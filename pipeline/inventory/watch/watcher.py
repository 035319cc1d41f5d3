"""The watcher as it runs: a reflector a kind that the cluster has, and the journal of what they find, to the bus.

Everything but the bus is in one thread. The invariant: nothing is sent before every kind that counts was listed, and
after a batch was lost nothing but a new epoch, so what stands on the bus behind a `synced` is the cluster's state.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from collector.schema import Batch

from ...errors import TransientError
from .api import Api
from .backoff import Backoff
from .config import WatcherConfig
from .errors import AbsentError, GoneError
from .journal import Journal
from .kinds import KINDS, Kind, Served
from .objects import Change, Objects
from .reflector import Counters, Reflector

log = logging.getLogger(__name__)

PROBE_S: Final = 2.0
"""A server that does not answer is asked at least this often whether it is back; only then are the kinds asked for."""
FLUSH_S: Final = 10.0


class Outlet(Protocol):
    """Where batches go. Calls may take a while and come from another thread, one at a time."""

    def send(self, batch: Batch) -> None:
        """Hand one batch over."""

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything handed over has arrived or is lost."""

    def lost(self) -> int:
        """How many rows were lost so far."""


class Watcher:
    """Inert until `run`. `backoff` makes one for each kind; `newest_epoch` is as `Journal` takes it."""

    def __init__(
        self,
        config: WatcherConfig,
        api: Api,
        outlet: Outlet,
        counters: Counters,
        backoff: Callable[[], Backoff] = Backoff,
        newest_epoch: int = 0,
    ) -> None:
        self._config = config
        self._api = api
        self._outlet = outlet
        self._counters = counters
        self._backoff = backoff
        self._objects = Objects()
        self._journal = Journal(config.node, newest_epoch)
        self._running: dict[Kind, tuple[Reflector, asyncio.Task[None]]] = {}
        self._has_looked = False
        """Whether every kind that must be there was found once."""
        self._answers = False
        """Whether the server answered when it was asked last. Watches alone do not tell: a quiet one says nothing."""

    async def run(self, stop: asyncio.Event) -> None:
        """Watch and say what changes until `stop`. Raises ConfigError where the cluster's settings cannot work."""
        try:
            served = await self._look()  # outside of the tasks: a wrong setting ends the watcher here
            async with asyncio.TaskGroup() as tasks:
                self._attend(served, tasks)
                discovery = tasks.create_task(self._discover(tasks))
                shipping = tasks.create_task(self._ship(stop))
                await shipping
                discovery.cancel()
                for _, task in self._running.values():
                    task.cancel()
        finally:
            await self._api.close()

    # --- which kinds there are ---

    async def _look(self) -> list[Served]:
        """The kinds that the cluster has; none where it does not answer."""
        try:
            served = await self._api.served()
        except (TransientError, AbsentError, GoneError) as error:
            log.warning("discovery: %s", error)
            self._counters.add("errors_total", 1, kind="", reason=getattr(error, "reason", "refused"))
            self._answers = False
            return []
        self._answers = True
        found = {one.kind for one in served}
        self._has_looked = self._has_looked or all(kind in found for kind in KINDS if kind.is_required)
        return served

    async def _discover(self, tasks: asyncio.TaskGroup) -> None:
        backoff = self._backoff()
        while True:
            is_well = self._has_looked and self._answers
            if is_well:
                backoff.reset()
            await asyncio.sleep(self._config.discovery_s if is_well else min(backoff.wait_s(), PROBE_S))
            self._attend(await self._look(), tasks)
            if self._answers and not is_well:
                for reflector in self._reflectors():
                    reflector.wake()

    def _attend(self, served: Iterable[Served], tasks: asyncio.TaskGroup) -> None:
        """Start a reflector for each kind that has none, and forget those that have ended.

        A kind that is served in a better version now is listed anew in that; what was known stays until then.
        """
        for one in served:
            before = self._running.get(one.kind)
            if before is not None and not before[1].done():
                if before[0].served == one:
                    continue
                before[1].cancel()
            if before is None or before[0].served != one:
                log.info("watching %s (%s)", one.kind.label, one.api_version)
            reflector = Reflector(self._api, one, self._objects, self._counters, self._backoff())
            self._running[one.kind] = reflector, tasks.create_task(reflector.run())

    # --- what is said ---

    async def _ship(self, stop: asyncio.Event) -> None:
        backoff = Backoff(1.0, 30.0)  # an epoch is all objects again
        is_synced, why = False, "start"
        lost = self._outlet.lost()
        resume_at = 0.0
        while True:
            has_ended = await _within(stop, self._config.mark_s)
            now_ns = time.time_ns()
            if self._outlet.lost() != lost:
                lost = self._outlet.lost()
                is_synced, resume_at = False, time.monotonic() + backoff.wait_s()
                log.warning("the bus lost a batch; what stands there is made good by a new epoch")
                why = "lost"
            if not is_synced:
                if self._is_ready() and time.monotonic() >= resume_at and not has_ended:
                    await self._send(self._begin(now_ns, why))
                    is_synced = True
                else:
                    self._count(self._objects.changes())
            elif self._journal.is_full(self._objects.count()) and not has_ended:
                await self._send(self._begin(now_ns, "full"))
                backoff.reset()
            elif self._journal.is_ahead(now_ns) and not has_ended:
                log.warning("the clock was set back; all is told anew")
                await self._send(self._begin(now_ns, "clock"))
            else:
                await self._send(self._extend(now_ns))
            if has_ended:
                await asyncio.to_thread(self._outlet.flush, FLUSH_S)
                return

    def _is_ready(self) -> bool:
        reflectors = self._reflectors()
        return self._has_looked and all(one.is_listed or one.is_stuck for one in reflectors)

    def _reflectors(self) -> list[Reflector]:
        return [reflector for reflector, task in self._running.values() if not task.done()]

    def _begin(self, now_ns: int, why: str) -> list[Batch]:
        self._counters.add("epochs_total", 1, reason=why)
        self._count(self._objects.changes())
        batches = self._journal.begin(now_ns, self._objects.all())
        log.info("a new epoch of %d objects in %d batches", self._objects.count(), len(batches))
        return batches

    def _extend(self, now_ns: int) -> list[Batch]:
        changes = self._objects.changes()
        self._count(changes)
        marked_ns = now_ns - int(self._config.settle_s * 1e9) if self._is_current() else None
        if marked_ns is not None:
            self._counters.set("last_mark_timestamp_seconds", marked_ns / 1e9)
        return self._journal.extend(changes, marked_ns)

    def _is_current(self) -> bool:
        is_current = self._has_looked and self._answers
        for reflector in self._reflectors():
            holds = reflector.is_current(self._config.settle_s)
            self._counters.set("current", float(holds), kind=reflector.served.kind.label)
            is_current &= holds or reflector.is_stuck
        return is_current

    def _count(self, changes: Iterable[Change]) -> None:
        for kind, number in Counter(change.served.kind for change in changes).items():
            self._counters.add("changes_total", number, kind=kind.label)
            self._counters.set("objects", self._objects.count(kind), kind=kind.label)

    async def _send(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            await asyncio.to_thread(self._outlet.send, batch)


async def _within(stop: asyncio.Event, seconds: float) -> bool:
    """Wait that long; whether `stop` came."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
    return stop.is_set()
