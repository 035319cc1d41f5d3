"""Messages that could not be read, put aside in a topic of Kafka. Part of `pipeline.bus.kafka`.

The invariant: putting aside never raises and never waits for long; what is lost by that is logged.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from kafka import KafkaProducer
from kafka import errors as kafka_errors

from collector.schema import MAX_MESSAGE_BYTES

from . import Message
from .topics import QUARANTINE_TOPIC

log = logging.getLogger(__name__)


QUARANTINED_BYTES: Final = MAX_MESSAGE_BYTES - 64 * 1024
"""How much of a value is put aside; with its headers it stays below the broker's default limit on a message."""
ANSWER_SECONDS: Final = 10.0
BLOCK_SECONDS: Final = 2.0
PAUSE_SECONDS: Final = 30.0


class KafkaQuarantine:
    """A producer that exists once something had to be put aside. After a failure it is left alone for a while."""

    def __init__(self, servers: list[str], options: Mapping[str, Any]) -> None:
        self._servers = servers
        self._options = options
        self._producer: Any = None
        self._pending: list[Any] = []
        self._resume_at = 0.0

    def put(self, message: Message, reason: str) -> None:
        """Send one message; an outage costs the message and is logged."""
        if time.monotonic() < self._resume_at:
            return
        ours = {"flowatlas-reason": reason.encode(), "flowatlas-origin": message.origin.encode()[:1024]}
        theirs = {k[:256]: v[:256] for k, v in list(message.headers.items())[:16]}
        try:
            if self._producer is None:
                self._producer = KafkaProducer(
                    bootstrap_servers=self._servers,
                    client_id="flowatlas-quarantine",
                    max_request_size=MAX_MESSAGE_BYTES,
                    max_block_ms=int(BLOCK_SECONDS * 1000),
                    request_timeout_ms=int(ANSWER_SECONDS * 500),
                    delivery_timeout_ms=int(ANSWER_SECONDS * 1000),
                    bootstrap_timeout_ms=int(BLOCK_SECONDS * 1000),
                    metrics_enabled=False,
                    **self._options,
                )
            future = self._producer.send(
                QUARANTINE_TOPIC,
                key=message.key[:1024],
                value=message.value[:QUARANTINED_BYTES],
                headers=list({**theirs, **ours}.items()),
            )
        except (kafka_errors.KafkaError, OSError) as error:
            log.warning("bus: %s and what follows could not be put aside: %s", message.origin, error)
            self._resume_at = time.monotonic() + PAUSE_SECONDS
            return
        self._pending.append(future)

    def flush(self) -> None:
        """Wait for a bounded time until what was put aside has arrived."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        try:
            self._producer.flush(timeout=ANSWER_SECONDS)
        except kafka_errors.KafkaError as error:
            log.warning("bus: quarantine does not answer: %s", error)
        if lost := sum(not future.succeeded() for future in pending):
            log.warning("bus: %d messages could not be put aside", lost)

    def close(self) -> None:
        """Flush and end; safe to call twice."""
        self.flush()
        if self._producer is not None:
            self._producer.close(timeout=BLOCK_SECONDS)
            self._producer = None
