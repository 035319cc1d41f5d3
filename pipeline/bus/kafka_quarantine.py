"""Messages that could not be read, put aside in a topic of Kafka. Part of `pipeline.bus.kafka`.

They are put aside whole, so that a later pipeline may read them (`aside`): their headers as they were, and ours beside
them. The invariant: putting aside never raises and never waits for long; what is lost by that is logged.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from kafka import KafkaProducer
from kafka import errors as kafka_errors

from collector.kafka_checksums import install_checksums
from collector.schema import MAX_MESSAGE_BYTES

from . import Message
from .topics import MAX_BYTES, QUARANTINE_TOPIC

log = logging.getLogger(__name__)

OURS: Final = "flowatlas-"
"""What the names of our own headers begin with."""
REASON, ORIGIN, TIME, IS_WHOLE = (OURS + name for name in ("reason", "origin", "time", "whole"))
SENT_BACK: Final = OURS + "sent-back"
"""Of a message that stands for no other: its value names, a line each, those that lie in their own topics again."""
CUT_BYTES: Final = MAX_MESSAGE_BYTES - 64 * 1024
"""How much is put aside of a value where the topic takes no more than a broker's default."""
MAX_KEY_BYTES: Final = 1024
MAX_HEADERS: Final = 16
MAX_HEADER_BYTES: Final = 256
ANSWER_SECONDS: Final = 10.0
BLOCK_SECONDS: Final = 2.0
PAUSE_SECONDS: Final = 30.0
PENDING_BYTES: Final = 16 * 1024 * 1024
"""More is not held of what is on its way: a commit, which waits for it, may be far."""


class KafkaQuarantine:
    """A producer that exists once something had to be put aside. After a failure it is left alone for a while."""

    def __init__(self, servers: list[str], options: Mapping[str, Any]) -> None:
        self._servers = servers
        self._options = options
        self._producer: Any = None
        self._pending: list[tuple[Any, Message, str]] = []
        """What is on its way, with its reason."""
        self._pending_bytes = 0
        self._resume_at = 0.0

    def put(self, message: Message, reason: str) -> None:
        """Send one message; an outage costs the message and is logged."""
        if self._pending_bytes >= PENDING_BYTES:
            self.flush()
        self._send(message, reason, MAX_MESSAGE_BYTES)

    def _send(self, message: Message, reason: str, most_bytes: int) -> None:
        if time.monotonic() < self._resume_at:
            return
        try:
            if self._producer is None:
                self._producer = open_producer(self._servers, self._options, BLOCK_SECONDS)
            future = self._producer.send(
                QUARANTINE_TOPIC,
                key=message.key[:MAX_KEY_BYTES],
                value=message.value[:most_bytes],
                headers=list(noted_headers(message, reason, most_bytes).items()),
            )
        except (kafka_errors.KafkaError, OSError) as error:
            log.warning("bus: %s and what follows could not be put aside: %s", message.origin, error)
            self._pause()
            return
        self._pending.append((future, message, reason))
        self._pending_bytes += min(len(message.value), most_bytes)

    def flush(self) -> None:
        """Wait for a bounded time until what was put aside has arrived; cut, where the topic refuses the whole."""
        lost = []
        for future, message, reason in self._settled():
            if isinstance(future.exception, kafka_errors.MessageSizeTooLargeError):
                self._send(message, reason, CUT_BYTES)
            elif not future.succeeded():
                lost.append(future)
        lost += [future for future, _, _ in self._settled() if not future.succeeded()]
        if lost:
            why = lost[0].exception or "no answer"
            log.warning("bus: %d messages, and what follows, could not be put aside: %s", len(lost), why)
            self._pause()

    def _pause(self) -> None:
        """Put nothing aside for a while: who waits for what does not arrive does nothing else meanwhile."""
        self._resume_at = time.monotonic() + PAUSE_SECONDS

    def _settled(self) -> list[tuple[Any, Message, str]]:
        """What was on its way, and has arrived or never will."""
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        if pending:
            try:
                self._producer.flush(timeout=ANSWER_SECONDS)
            except kafka_errors.KafkaError as error:
                log.warning("bus: quarantine does not answer: %s", error)
        return pending

    def close(self) -> None:
        """Flush and end; safe to call twice."""
        self.flush()
        if self._producer is not None:
            self._producer.close(timeout=BLOCK_SECONDS)
            self._producer = None


def noted_headers(message: Message, reason: str, most_bytes: int = MAX_MESSAGE_BYTES) -> dict[str, bytes]:
    """A message's own headers, as far as there is room for them, and what is to say of it."""
    theirs = {
        name[:MAX_HEADER_BYTES]: value[:MAX_HEADER_BYTES]
        for name, value in list(message.headers.items())[:MAX_HEADERS]
        if not name.startswith(OURS)
    }
    is_whole = (
        not message.flaw
        and theirs == message.headers
        and len(message.key) <= MAX_KEY_BYTES
        and len(message.value) <= most_bytes
    )
    return {
        **theirs,
        REASON: reason.encode(),
        ORIGIN: message.origin.encode()[:1024],
        TIME: str(time.time_ns()).encode(),
        IS_WHOLE: b"1" if is_whole else b"0",
    }


def open_producer(servers: list[str], options: Mapping[str, Any], connect_s: float) -> Any:
    """A producer of messages as large as any topic of ours takes. Raises as KafkaProducer does."""
    install_checksums()
    return KafkaProducer(
        bootstrap_servers=servers,
        client_id="flowatlas-quarantine",
        acks="all",
        enable_idempotence=False,  # else it is of no use any more once a topic has refused a message for its size
        max_request_size=2 * MAX_BYTES,
        max_block_ms=int(connect_s * 1000),
        request_timeout_ms=int(ANSWER_SECONDS * 500),
        delivery_timeout_ms=int(ANSWER_SECONDS * 1000),
        bootstrap_timeout_ms=int(connect_s * 1000),
        metrics_enabled=False,
        **options,
    )
