"""Batches to Kafka: one message each, under its key, acknowledged by all in-sync replicas, idempotent.

The client itself bounds nothing, so what may wait for the broker's answer is bounded here, in bytes. A batch that finds
no room within BLOCK_S is lost with reason `bus_full`, one that the client gives up with reason `bus_error`, unless
somebody keeps it (`spool`) and is told; neither raises. One that is larger than its topic takes is lost for certain,
with reason `too_large`: who kept it would hold up all that come after it. Topics are the broker's to create. No
compression by Kafka: a batch is compressed already. A producer that was refused is replaced: the client takes some
refusals for final, and rights, passwords and certificates can be mended while we run. So is one that answers nothing
any more: where a connection is reset while it asks for its identity, the client may wait for that for ever, and lets
nothing expire.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError

from .. import buses
from ..errors import ConfigError, TransientError
from ..kafka_checksums import install_checksums
from ..metrics import Metrics
from ..schema import MAX_MESSAGE_BYTES, Batch
from . import Settled
from .kafka_partitions import Partitions

_log = logging.getLogger(__name__)

BLOCK_S: Final = 2.0
DELIVERY_S: Final = 60.0
RECONNECT_MS: Final = 2_000
"""The longest wait of the client before it dials a broker again."""
_OVERDUE: Final = 1.5
"""A producer that has not answered for a batch after so many DELIVERY_S never will."""
_ROOM_FOR_HEADERS: Final = 64 * 1024
_TOO_LARGE: Final = "too_large"


class KafkaSink:
    """Hands batches to one producer. `limit_bytes` bounds what is in flight.

    Where `on_settled` is given it is called once for each batch, from any thread, with whether nobody need keep it any
    more: the broker has it, or will never take it, and that alone is counted as lost here. `options` are the client's:
    security (`kafka_client`). `partitions` is a file that tells the next process where batches went
    (`kafka_partitions`). `headers` are a batch's on the bus.
    """

    def __init__(
        self,
        url: str,
        metrics: Metrics,
        limit_bytes: int,
        on_settled: Settled | None = None,
        options: Mapping[str, Any] | None = None,
        partitions: Path | None = None,
        headers: Callable[[Batch], Mapping[str, bytes]] = Batch.headers,
    ) -> None:
        self._servers = buses.servers_of(url)
        if not self._servers:
            raise ConfigError(f"bus: {buses.shown(url)} is not kafka://HOST:PORT[,HOST:PORT]")
        self._metrics = metrics
        self._limit_bytes = limit_bytes
        self._on_settled = on_settled
        self._in_flight: dict[tuple[str, int, int], Batch] = {}
        self._since: dict[tuple[str, int, int], float] = {}
        self._settled = threading.Condition()
        self._options = dict(options or {})
        self._partitions = Partitions(partitions)
        self._headers = headers
        self._producer: Any = None
        self._is_refused = self._is_mute = False
        self._stopped = threading.Event()
        self._watch = threading.Thread(target=self._watch_answers, name="kafka-answers", daemon=True)

    def start(self) -> None:
        """Connect. Raises TransientError where no broker answers."""
        install_checksums()
        try:
            self._producer = KafkaProducer(
                bootstrap_servers=self._servers,
                client_id="flowatlas-collector",
                max_request_size=MAX_MESSAGE_BYTES + _ROOM_FOR_HEADERS,
                max_block_ms=int(BLOCK_S * 1000),
                delivery_timeout_ms=int(DELIVERY_S * 1000),
                request_timeout_ms=int(DELIVERY_S * 1000) // 2,
                bootstrap_timeout_ms=5000,
                metrics_enabled=False,
                **{"reconnect_backoff_max_ms": RECONNECT_MS, **self._options},
            )
        except KafkaError as error:
            raise TransientError(f"bus: no broker at {','.join(self._servers)}: {type(error).__name__}") from error
        self._is_refused = self._is_mute = False
        if self._watch.ident is None:
            self._watch.start()

    def send(self, batch: Batch) -> None:
        """Hand one batch to the producer, after waiting for room for at most BLOCK_S."""
        with self._settled:
            if not self._settled.wait_for(lambda: self._has_room(batch), BLOCK_S):
                self._give_up(batch, "bus_full")
                return
            key = (batch.table, batch.epoch, batch.seq)
            self._in_flight[key], self._since[key] = batch, time.monotonic()
        try:
            self._replace_refused()
            future = self._producer.send(
                batch.topic,
                key=batch.key,
                value=batch.value,
                headers=list(self._headers(batch).items()),
                partition=self._partition_of(batch),
            )
        except (KafkaError, TransientError) as error:
            self._lose(batch, error)
            return
        future.add_callback(self._acknowledge, batch)
        future.add_errback(self._lose, batch)

    def _partition_of(self, batch: Batch) -> int:
        if batch.partition is not None:
            return batch.partition
        return self._partitions.of(batch, len(self._producer.partitions_for(batch.topic)))

    def flush(self, timeout_s: float) -> bool:
        """Wait for the broker's answers."""
        with self._settled:
            return self._settled.wait_for(lambda: not self._in_flight, timeout_s)

    def stop(self) -> None:
        """Close the producer; what the broker has not acknowledged after BLOCK_S is given up and counted."""
        self._stopped.set()
        if self._watch.ident is not None:
            self._watch.join(BLOCK_S)
        if self._producer is None:
            return
        self.flush(BLOCK_S)
        with self._settled:
            undelivered = list(self._in_flight.values())
        for batch in undelivered:
            self._lose(batch, TransientError("the agent has stopped"))
        try:
            self._producer.close(timeout=BLOCK_S)
        except KafkaError as error:  # it refuses to close over batches that it still tries to deliver
            _log.warning("bus: closed by the process's end: %s", error)
            _abandon(self._producer)
        self._producer = None

    def _replace_refused(self) -> None:
        """Make a new producer where the last one is mute, or was refused something and has nothing left to deliver.

        Raises TransientError where none can be made, KafkaError where the old one does not end."""
        with self._settled:
            is_idle = len(self._in_flight) == 1  # the batch that is to be sent
        if self._producer is None or self._is_mute or (self._is_refused and is_idle):
            if self._producer is not None:
                try:
                    self._producer.close(timeout=BLOCK_S)
                except KafkaError as error:
                    if not self._is_mute:
                        raise
                    _log.warning("bus: a mute client is left behind: %s", error)
                    _abandon(self._producer)
                self._producer = None
            self.start()

    def _watch_answers(self) -> None:
        """Take back what the client owes an answer for: it promises one within DELIVERY_S."""
        while not self._stopped.wait(DELIVERY_S / 4):
            with self._settled:
                oldest = min(self._since.values(), default=time.monotonic())
                if time.monotonic() - oldest < _OVERDUE * DELIVERY_S:
                    continue
                self._is_mute = True
                owed = list(self._in_flight.values())
                self._in_flight.clear()
                self._since.clear()
                self._settled.notify_all()
            _log.warning("bus: no answer for %d batches; the client is replaced", len(owed))
            for batch in owed:
                self._give_up(batch, "bus_error")

    def _has_room(self, batch: Batch) -> bool:
        return sum(len(b.value) for b in self._in_flight.values()) + len(batch.value) <= self._limit_bytes

    def _acknowledge(self, batch: Batch, _metadata: object) -> None:
        if self._settle(batch):
            self._metrics.sent(batch)
            if self._on_settled is not None:
                self._on_settled(batch, True)

    def _lose(self, batch: Batch, error: BaseException) -> None:
        # the first that is refused is too large; those behind it the client gives up with the same error
        is_too_large = isinstance(error, MessageSizeTooLargeError) and not self._is_refused
        self._is_refused |= isinstance(error, KafkaError) and not error.retriable
        if self._settle(batch):
            told = type(error).__name__, error, len(batch.value), batch.topic
            _log.warning("bus: batch not delivered: %s: %s (%d bytes for %s)", *told)
            self._give_up(batch, _TOO_LARGE if is_too_large else "bus_error")

    def _give_up(self, batch: Batch, reason: str) -> None:
        is_lost = self._on_settled is None or reason == _TOO_LARGE
        if is_lost:
            self._metrics.lost(batch.table, batch.rows, batch.byte_sum, reason)
        if self._on_settled is not None:
            self._on_settled(batch, is_lost)

    def _settle(self, batch: Batch) -> bool:
        """Forget a batch; False where it was settled before, so that each is counted once."""
        with self._settled:
            key = (batch.table, batch.epoch, batch.seq)
            found = self._in_flight.pop(key, None)
            self._since.pop(key, None)
            self._settled.notify_all()
        return found is not None


def _abandon(producer: Any) -> None:
    """End a client that refuses to close over batches that it still has: else its thread, its connections and what it
    holds stay as long as the process, and the collection of garbage waits for it a second, and fails."""
    producer._sender.force_close()
    producer._closed = True
