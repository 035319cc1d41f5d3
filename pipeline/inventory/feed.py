"""Batches of the state table, in the order of the bus, to the history of the cluster.

It reads no bus and no clock. The invariant: what is in the history is what one epoch after another said as a whole: an
epoch whose beginning is not there is passed over until the first that is, and one that lacks a batch deletes nothing
by what it did not say. What is not understood of an object changes nothing, but a policy is judged no more by its
former text.
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

_PUT, _DELETE, _SYNCED, _MARK = range(len(STATE_OPS))


class Feed:
    """Tells a history what batches say."""

    def __init__(self, history: History) -> None:
        self.missing: Counter[str] = Counter()
        """Batches that were numbered and not there when later ones were, by the watcher's name."""
        self._history = history
        self._watcher = ""
        self._epoch = -1
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
        if epoch < self._epoch or (epoch == self._epoch and seq < self._next):
            return False
        if epoch > self._epoch:
            if self._watcher not in {"", watcher}:
                log.warning("state: %s tells it now, and not %s; a bus carries one cluster", watcher, self._watcher)
            self._watcher, self._epoch, self._next, self._is_whole = watcher, epoch, 0, True
            self._refused.clear()
            self._history.begin()
        if seq != self._next:
            self._is_whole = False
            if self._history.is_synced:
                self.missing[watcher] += seq - self._next
        self._next = seq + 1
        if not self._is_whole and not self._history.is_synced:
            return False
        for row in rows.select("op", "time", "api_version", "kind", "namespace", "name", "body").iter_rows():
            self._apply(*row)
        return True

    def _apply(self, op: int, time_ns: int, api_version: str, kind: str, namespace: str, name: str, body: str) -> None:
        if op == _PUT:
            self._put(time_ns, api_version, kind, namespace, name, body)
        elif op == _DELETE:
            self._refused.discard((kind, namespace, name))
            self._history.delete(time_ns, api_version, kind, namespace, name)
        elif op == _MARK:
            self._history.mark(time_ns)
        elif self._is_whole:
            self._history.synced(time_ns)

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
                self._history.put(time_ns, stand_in)
            return
        self._refused.discard(who)
        self._history.put(time_ns, resource)
