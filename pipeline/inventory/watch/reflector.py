"""One kind of objects, kept as the API server has it: list, watch, go on where a watch ended, list anew where it must.

The invariant: what is known of the kind was all true at one moment of the server's, and only moves forward from there;
while the server does not answer, it stays as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from ...errors import TransientError
from .api import PAGE_OBJECTS, Api, Event
from .backoff import Backoff
from .bodies import Known, Seen, nameplate, seen, seen_or_none, slim
from .errors import AbsentError, AnswerError, ForbiddenError, GoneError
from .kinds import Served
from .objects import Objects

log = logging.getLogger(__name__)

STUCK: Final = 3
"""An optional kind that failed so often in a row is waited for no longer."""
MANY: Final = 10
DOUBTED_S: Final = 60.0
"""A list that has nothing where many objects were is believed when it has said so for this long: a server whose own
cache is empty after a restart says so too, and nothing would have a name any more."""
CATCH_UP_SHARE: Final = 0.02
MOST_CATCH_UP_S: Final = 15.0
"""What happened since a version was current comes at once when it is watched on from there. Nothing tells where that
ends; it is read many times faster than it happened, so it is waited for this share of that time."""
_BRIEF_S: Final = 1.0
"""A watch that ended sooner and said nothing counts as a failure."""


class Counters(Protocol):
    """Where the watcher counts; the names are the catalogue's without `flowatlas_watcher_`."""

    def add(self, name: str, amount: float, **labels: str) -> None:
        """Count more."""

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""


class Reflector:
    """Keeps one kind of `objects` until the cluster has it no more. Inert until `run`."""

    def __init__(self, api: Api, served: Served, objects: Objects, counters: Counters, backoff: Backoff) -> None:
        self.served = served
        self._api = api
        self._objects = objects
        self._counters = counters
        self._backoff = backoff
        self._version = ""
        self._is_listed = False
        self._watching_since: float | None = None
        self._current_until = time.monotonic()
        """When what is known was all that there was, while no watch stands."""
        self._catch_up_s = 0.0
        self._failures = 0
        self._is_forbidden = False
        """Whether the last failure was that."""
        self._why = "start"
        self._empty_since: float | None = None
        self._woken = asyncio.Event()
        self._told: set[str] = set()
        """Names of objects that were left out; each is logged once."""

    @property
    def is_stuck(self) -> bool:
        """Whether the kind fails and may be done without; one that is forbidden need not fail again to be known so."""
        is_failing = self._failures >= STUCK or (self._failures > 0 and self._is_forbidden)
        return not self.served.kind.is_required and is_failing

    @property
    def is_listed(self) -> bool:
        """Whether all objects of the kind were known once."""
        return self._is_listed

    def is_current(self, settle_s: float) -> bool:
        """Whether what the server knew `settle_s` ago is known here: a watch of a listed kind stands since then, and
        has had the time to tell what came before."""
        if self._watching_since is None:
            return False
        return time.monotonic() - self._watching_since >= settle_s + self._catch_up_s

    def wake(self) -> None:
        """The server is back after it was away: ask it again now, however long the wait had become."""
        if self._failures:
            self._backoff.reset()
            self._woken.set()

    async def run(self) -> None:
        """Keep the kind; returns where the cluster has it no more. What is forbidden is not gone."""
        kind = self.served.kind.label
        while True:
            asked_s = 0.0
            try:
                if not self._version:
                    await self._list()
                if await self._watch():
                    continue
                self._failures += 1
            except GoneError as error:
                log.info("%s: %s is kept no more; listing anew", kind, error)
                self._list_anew("expired")
                self._failures += 1
                if self._failures == 1:
                    continue
            except AbsentError:
                break
            except TransientError as error:
                asked_s = self._failed(error)
            await self._rest(self._backoff.wait_s(asked_s))
        self._objects.replace(self.served, {}, time.time_ns())

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)
        self._woken.clear()

    def _list_anew(self, why: str) -> None:
        self._version, self._why = "", why

    def _failed(self, error: TransientError) -> float:
        """Count and tell; how long the server wants to be left alone."""
        self._failures += 1
        reason = error.reason if isinstance(error, AnswerError) else "forbidden"  # the two that the server gives
        self._is_forbidden = isinstance(error, ForbiddenError)
        self._counters.add("errors_total", 1, kind=self.served.kind.label, reason=reason)
        is_left_out = self._is_forbidden and self.is_stuck and not self._is_listed
        level = logging.DEBUG if is_left_out or self._failures > STUCK else logging.WARNING
        log.log(level, "%s: %s", self.served.kind.label, error)
        if reason == "malformed":
            self._list_anew(reason)
        return error.retry_after_s if isinstance(error, AnswerError) else 0.0

    def _went_well(self) -> None:
        self._failures = 0
        self._backoff.reset()

    async def _list(self) -> None:
        self._counters.add("relists_total", 1, kind=self.served.kind.label, reason=self._why)
        found: dict[tuple[str, str], Known] = {}
        token, limit = "", PAGE_OBJECTS
        began_s = time.monotonic()
        while True:
            try:
                items, version, token = await self._api.page(self.served, token, limit)
            except GoneError:
                if not token:
                    raise
                # the list took longer than its pages are kept for; a whole one has no pages to lose
                self._counters.add("relists_total", 1, kind=self.served.kind.label, reason="page_expired")
                found, token, limit = {}, "", 0
                continue
            except AnswerError as error:
                if not token:
                    raise
                await self._rest(self._backoff.wait_s(self._failed(error)))
                continue
            for raw in items:
                known = self._understood(raw)
                if isinstance(known, Known):
                    found[known.namespace, known.name] = known
            if not token:
                break
            await asyncio.sleep(0)
        self._doubt(len(found))
        self._objects.replace(self.served, found, time.time_ns())
        self._version, self._current_until = version, began_s
        self._is_listed = True

    def _doubt(self, found: int) -> None:
        """Raise AnswerError where a list of so many is rather asked for again than believed."""
        now_s = time.monotonic()
        known = self._objects.count(self.served.kind)
        if found or known < MANY:
            self._empty_since = None
            return
        self._empty_since = self._empty_since or now_s
        if now_s - self._empty_since < DOUBTED_S:
            raise AnswerError("empty", f"{known} objects are known and none is listed")
        self._empty_since = None

    async def _watch(self) -> bool:
        """One watch to its end; whether it did any good."""
        has_spoken, since_s = False, math.inf
        try:
            async with self._api.watch(self.served, self._version) as events:
                since_s = time.monotonic()
                self._catch_up_s = min(CATCH_UP_SHARE * (since_s - self._current_until), MOST_CATCH_UP_S)
                self._watching_since = since_s
                async for event in events:
                    has_spoken = True
                    self._take(event)
                    self._went_well()
        finally:
            if self.is_current(0.0):
                self._current_until = time.monotonic()
            self._watching_since = None
            is_good = has_spoken or time.monotonic() - since_s >= _BRIEF_S
            if is_good:
                self._went_well()  # however it ends: waits grow for a server that does not answer
        return is_good

    def _take(self, event: Event) -> None:
        now_ns = time.time_ns()
        if event.type == "BOOKMARK":
            told = str(event.raw.get("metadata", {}).get("resourceVersion") or self._version)
            self._version = self._version if _is_before(told, self._version) else told
            return
        if event.type not in {"ADDED", "MODIFIED", "DELETED"}:
            raise AnswerError("malformed", f"an event of type {event.type[:20]!r}")
        known = self._understood(event.raw)
        if known is None:
            return
        who = seen(event.raw)
        if _is_before(who.resource_version, self._version):
            self._counters.add("stale_events_total", 1, kind=self.served.kind.label)
            return
        if isinstance(known, Known) and event.type != "DELETED":
            self._objects.put(self.served, known, now_ns)
        else:
            self._objects.delete(self.served, who, now_ns)
        self._version = who.resource_version or self._version

    def _understood(self, raw: Mapping[str, Any]) -> Known | Seen | None:
        """The object; where it is not understood, a policy's nameplate, or who it is that is left out; None where not
        even that."""
        try:
            return slim(self.served, raw)
        except (msgspec.ValidationError, RecursionError) as error:
            who = seen_or_none(raw)
            name = f"{who.namespace}/{who.name}" if who else "(nameless)"
            level = logging.DEBUG if name in self._told else logging.WARNING
            plate = nameplate(self.served, who) if who else None
            fate = "is not judged" if plate else "is left out"
            log.log(level, "%s %s %s: %s", self.served.kind.label, name, fate, error)
            self._told.add(name)
            self._counters.add("malformed_objects_total", 1, kind=self.served.kind.label)
            return plate or who


def _is_before(version: str, other: str) -> bool:
    """Whether a resource version is older than another of its kind: they are numbers that grow (KEP-5504), and of any
    that are none nothing is known."""
    return version.isdecimal() and other.isdecimal() and int(version) < int(other)
