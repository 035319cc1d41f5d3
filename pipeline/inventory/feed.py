"""Batches of the state table, in the order of the bus, to the history of the cluster.

It reads no bus and no clock. The invariant: what is in the history is what one epoch after another said as a whole: an
epoch whose beginning is not there is passed over until the first that is, and one that lacks a batch deletes nothing
by what it did not say. What is not understood of an object changes nothing, but a policy is judged no more by its
former text. Which epoch came last is told by the order of the bus, for a watcher's clock may have been set back; what
was told by the other clock is forgotten then.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Final

import msgspec
import polars as pl

from collector.schema import STATE_OPS

from .history import History
from .identities import opaque
from .models import MODELS, Other, Resource
from .parts import decode

log = logging.getLogger(__name__)

MAX_REFUSALS_LOGGED: Final = 100
"""Of one epoch."""
MAX_OVER: Final = 10_000
"""Epochs that are remembered as over, those of four months: a bus may be read from its beginning again."""
SET_BACK_NS: Final = 1_000_000_000
"""Clocks of two machines differ by less: an epoch that begins so much before the last mark tells of another time."""

_PUT, _DELETE, _SYNCED, _MARK = range(len(STATE_OPS))


class Feed:
    """Tells a history what batches say."""

    def __init__(self, history: History) -> None:
        self.history = history
        """What is known now: another one where a clock was set back."""
        self.missing: Counter[str] = Counter()
        """Batches that were numbered and not there when later ones were, by the watcher's name."""
        self._watcher = ""
        self._epoch = -1
        self._over: dict[int, None] = {}
        self._next = 0
        self._is_whole = False
        self._refused: set[tuple[str, str, str]] = set()

    @property
    def refused(self) -> dict[str, int]:
        """Objects that could not be understood, by kind."""
        return dict(sorted(Counter(kind for kind, _, _ in self._refused).items()))

    def take(self, watcher: str, epoch: int, seq: int, rows: pl.DataFrame) -> bool:
        """Apply the rows (columns of `collector.schema.STATE`) of one batch; False where they are of no use any more.

        Batches that came before and those of an epoch that is over are passed over.
        """
        if epoch in self._over or (epoch == self._epoch and seq < self._next) or (epoch < self._epoch and seq):
            return False
        if epoch != self._epoch:
            if self._watcher not in {"", watcher}:
                log.warning("state: %s tells it now, and not %s; a bus carries one cluster", watcher, self._watcher)
            self._over[self._epoch] = None
            if len(self._over) > MAX_OVER:
                del self._over[next(iter(self._over))]
            self._watcher, self._epoch, self._next, self._is_whole = watcher, epoch, 0, True
            self._refused.clear()
            self.history.begin()
        if seq != self._next:
            self._is_whole = False
            if self.history.is_synced:
                self.missing[watcher] += seq - self._next
        self._next = seq + 1
        if not self._is_whole and not self.history.is_synced:
            return False
        for row in rows.select("op", "time", "api_version", "kind", "namespace", "name", "body").iter_rows():
            self._apply(*row)
        return True

    def _apply(self, op: int, time_ns: int, api_version: str, kind: str, namespace: str, name: str, body: str) -> None:
        if op == _PUT:
            self._put(time_ns, api_version, kind, namespace, name, body)
        elif op == _DELETE:
            self._refused.discard((kind, namespace, name))
            self.history.delete(time_ns, api_version, kind, namespace, name)
        elif op == _MARK:
            self.history.mark(time_ns)
        elif self._is_whole:
            ahead_ns = self.history.known_until - time_ns
            self.history.synced(time_ns)
            if ahead_ns > SET_BACK_NS:
                told = "state: the watcher's clock was set back by %.1f s; all is taken as it is told now"
                log.warning(told, ahead_ns / 1e9)
                self._start_anew(time_ns)

    def _start_anew(self, time_ns: int) -> None:
        """Know what there is as if nothing had been known before."""
        objects = self.history.objects()
        self.history = self.history.anew()
        self.history.begin()
        for resource in objects:
            self.history.put(time_ns, resource)
        self.history.synced(time_ns)

    def _put(self, time_ns: int, api_version: str, kind: str, namespace: str, name: str, body: str) -> None:
        model = MODELS.get((api_version.rpartition("/")[0], kind), Other)
        who = (kind, namespace, name)
        try:
            resource: Resource = msgspec.json.decode(body, type=model, dec_hook=decode)
            if resource.kind != kind or resource.metadata.name != name:
                raise msgspec.ValidationError("Object is another than the row says")
        except (msgspec.DecodeError, RecursionError) as error:  # a ValidationError is a DecodeError
            if who not in self._refused and len(self._refused) < MAX_REFUSALS_LOGGED:
                log.warning("state: %s %s: %s", kind, f"{namespace}/{name}".lstrip("/"), error)
            self._refused.add(who)
            if (stand_in := opaque(api_version, kind, namespace, name)) is not None:
                self.history.put(time_ns, stand_in)
            return
        self._refused.discard(who)
        self.history.put(time_ns, resource)
