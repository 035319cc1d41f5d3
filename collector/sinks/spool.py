"""A bounded folder between the agent and a bus that may be away: on disk first, then sent, deleted once the bus has it.

The agent's thread writes; a thread of the spool sends, oldest first, and connects as often as it takes. What a killed
agent left is sent by the next one. Past the bound the oldest whole batches go, counted with reason `spool_full`; what
the disk refuses is sent from memory or, where the bus is away too, counted with reason `spool_error`.
The invariant: a batch is on the disk, with the bus, or in `lost_rows_total`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from heapq import merge
from itertools import repeat
from pathlib import Path
from typing import Final

from ..errors import ConfigError, TransientError
from ..metrics import Metrics
from ..schema import TABLES, Batch, BatchError
from . import Settled, Sink
from .segments import EPOCH_DIGITS, SegmentFolder, segment_name
from .spooled import claimed, packed, unpacked

_log = logging.getLogger(__name__)

WINDOW_BYTES: Final = 8 * 1024 * 1024
"""What may be with the bus and unanswered."""
_RETRY_S: Final = (0.2, 5.0)
"""First and longest wait after the bus has refused or was not there."""
_JOIN_S: Final = 15.0
"""Longer than any single call into the bus takes."""

_Key = tuple[str, str]
"""Table and segment name."""


class SpoolSink:
    """Keeps batches under `folder`, `limit_bytes` at most, until the sink that `make_bus` makes has sent them."""

    def __init__(self, folder: Path, metrics: Metrics, limit_bytes: int, make_bus: Callable[[Settled], Sink]) -> None:
        self._folder = folder
        self._metrics = metrics
        self._limit_bytes = limit_bytes
        self._bus = make_bus(self._settled)
        self._segments: dict[str, SegmentFolder] = {}
        self._waiting: deque[_Key] = deque()
        self._with_bus: dict[_Key, int] = {}
        self._unspooled: set[_Key] = set()
        self._changed = threading.Condition()
        self._is_stopping = self._is_connected = False
        self._not_before = 0.0
        self._delay_s = _RETRY_S[0]
        self._sender = threading.Thread(target=self._send_all, name="spool", daemon=True)

    def start(self) -> None:
        """Open the folder and begin to send what it holds. Raises ConfigError where it cannot be opened."""
        for name in TABLES:
            try:
                self._segments[name] = SegmentFolder(self._folder / name)
            except OSError as error:
                raise ConfigError(f"spool: cannot use {self._folder}: {error}") from error
        found = (zip(folder.names, repeat(table)) for table, folder in self._segments.items())
        self._waiting.extend((table, segment) for segment, table in merge(*found))
        self._tell()
        self._sender.start()

    def send(self, batch: Batch) -> None:
        """Put one batch on the disk, synced."""
        key = (batch.table, segment_name(batch.epoch, batch.seq))
        with self._changed:
            if self._segments[batch.table].has(key[1]):  # a killed agent has put it there
                return
            try:
                self._segments[batch.table].write(key[1], packed(batch))
            except OSError as error:
                _log.warning("spool: not written: %s", error)
                self._metrics.set("spool_is_degraded", 1)
                self._unspooled.add(key)
            else:
                self._metrics.set("spool_is_degraded", 0)
                self._waiting.append(key)
                self._drop_what_is_too_much()
                self._tell()
                self._changed.notify_all()
                return
            if not self._is_connected or self._window() + len(batch.value) > WINDOW_BYTES:
                self._lose_unspooled(batch, key)
                return
            self._with_bus[key] = len(batch.value)
        self._bus.send(batch)

    def flush(self, timeout_s: float) -> bool:
        """Wait until the bus has everything; what it has not then stays on the disk for the next agent."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._with_bus, timeout_s)

    def stop(self) -> None:
        """Stop sending and close the bus; safe to call twice."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        if self._sender.ident is not None:
            self._sender.join(_JOIN_S)
        self._bus.stop()

    def _send_all(self) -> None:
        while not self._is_connected:
            try:
                self._bus.start()
            except TransientError as error:
                _log.warning("%s; batches stay in %s meanwhile", error, self._folder)
                with self._changed:
                    self._back_off()
                    if self._changed.wait_for(lambda: self._is_stopping, self._not_before - time.monotonic()):
                        return
            else:
                with self._changed:
                    self._is_connected = True
        while (batch := self._next()) is not None:
            self._bus.send(batch)

    def _next(self) -> Batch | None:
        """The next batch to send, counted as being with the bus, as soon as the window lets it; None at the end."""
        with self._changed:
            while not self._is_stopping:
                wait_s = self._not_before - time.monotonic()
                if wait_s > 0:
                    self._changed.wait(wait_s)
                elif not self._waiting or self._window() >= WINDOW_BYTES or self._is_next_epoch():
                    self._changed.wait()
                else:
                    key = self._waiting.popleft()
                    batch = self._read(key)
                    if batch is not None:
                        self._with_bus[key] = len(batch.value)
                        return batch
        return None

    def _is_next_epoch(self) -> bool:
        """Whether the next batch is of another epoch than those of the spool that the bus has not answered for.

        Each of them may have come and may have to be sent again, and readers know of the last few epochs alone what
        has come.
        """
        unanswered = next((name for table, name in self._with_bus if (table, name) not in self._unspooled), None)
        return unanswered is not None and unanswered[:EPOCH_DIGITS] != self._waiting[0][1][:EPOCH_DIGITS]

    def _read(self, key: _Key) -> Batch | None:
        """The batch of a segment; one that is damaged is deleted and counted, one that cannot be read now waits."""
        table, name = key
        try:
            content = self._segments[table].read(name)
        except FileNotFoundError:
            _log.warning("spool: %s/%s is gone: somebody else has sent or deleted it", table, name)
            self._segments[table].delete(name)
            return None
        except OSError as error:
            _log.warning("spool: not read, tried again behind the others: %s", error)
            self._waiting.append(key)
            self._back_off()
            return None
        try:
            return unpacked(content, table, name)
        except BatchError as error:
            _log.warning("spool: %s/%s is damaged and deleted: %s", table, name, error)
            self._count_lost(content, "spool_corrupt")
            self._metrics.add("spool_corrupt_segments_total", 1)
            self._segments[table].delete(name)
            self._tell()
            return None

    def _settled(self, batch: Batch, is_delivered: bool) -> None:
        key = (batch.table, segment_name(batch.epoch, batch.seq))
        with self._changed:
            del self._with_bus[key]
            if key in self._unspooled:
                if is_delivered:
                    self._unspooled.discard(key)
                else:
                    self._lose_unspooled(batch, key)
            elif is_delivered:
                self._segments[batch.table].delete(key[1])
                self._delay_s = _RETRY_S[0]
                self._tell()
            else:
                self._wait_again(key)
                self._back_off()
            self._changed.notify_all()

    def _wait_again(self, key: _Key) -> None:
        """Put a batch back where it was: before all that are younger, behind others that came back."""
        place = 0
        while place < len(self._waiting) and self._waiting[place][::-1] < key[::-1]:
            place += 1
        self._waiting.insert(place, key)

    def _drop_what_is_too_much(self) -> None:
        while self._waiting and self._size() > self._limit_bytes:
            table, name = self._waiting.popleft()
            folder = self._segments[table]
            self._count_lost(folder.last_read(name), "spool_full")
            folder.delete(name)

    def _count_lost(self, content: bytes, reason: str) -> None:
        told = claimed(content)
        if told is None:
            _log.warning("spool: of a damaged segment not even the number of rows is known")
        else:
            self._metrics.lost(told.table, told.rows, told.byte_sum, reason)

    def _lose_unspooled(self, batch: Batch, key: _Key) -> None:
        self._unspooled.discard(key)
        self._metrics.lost(batch.table, batch.rows, batch.byte_sum, "spool_error")

    def _back_off(self) -> None:
        self._not_before = time.monotonic() + self._delay_s
        self._delay_s = min(2 * self._delay_s, _RETRY_S[1])

    def _window(self) -> int:
        return sum(self._with_bus.values())

    def _size(self) -> int:
        return sum(folder.size_bytes for folder in self._segments.values())

    def _tell(self) -> None:
        self._metrics.set("spool_bytes", self._size())
