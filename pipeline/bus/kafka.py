"""The bus in a cluster: Kafka topics, read as a consumer group over partitions keyed by node.

Offsets are committed when the engine says so and never by themselves. Fetches are bounded; the most that a broker can
make this process hold is one response of MAX_RESPONSE_BYTES, so a topic that allows larger messages cannot be read.
Messages compressed by Kafka are not inflated but flawed (`kafka_records`): set `compression.type=uncompressed` on the
topics, and the broker inflates what producers compress, within its own limit on a message.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast
from urllib.parse import urlsplit

from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors

from collector.schema import MAX_MESSAGE_BYTES

from ..errors import ConfigError, PermanentError, TransientError
from . import Message
from .kafka_records import HEAD_BYTES, FlawedValue, install

log = logging.getLogger(__name__)

SCHEME: Final = "kafka://"
QUARANTINE_TOPIC: Final = "flowatlas.quarantine.v1"
FETCH_BYTES: Final = 16 * 1024 * 1024
PARTITION_FETCH_BYTES: Final = 2 * MAX_MESSAGE_BYTES
MAX_RESPONSE_BYTES: Final = 64 * 1024 * 1024
QUARANTINED_BYTES: Final = MAX_MESSAGE_BYTES - 64 * 1024
"""How much of a value is put aside; with its headers it stays below the broker's default limit on a message."""
CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 10.0
QUARANTINE_SECONDS: Final = 2.0
QUARANTINE_PAUSE_SECONDS: Final = 30.0

_REFUSED: Final = (
    kafka_errors.AuthorizationError,
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.InvalidTopicError,
    kafka_errors.InvalidGroupIdError,
    kafka_errors.UnsupportedVersionError,
)


class KafkaReader:
    """One member of a consumer group, or a reader of everything where there is none."""

    def __init__(self, url: str, group: str | None, topics: Sequence[str]) -> None:
        self._servers = _servers(url)
        if group == "":
            raise ConfigError("group: a name is wanted")
        self._group = group
        self._topics = list(topics)
        self._consumer: Any = None
        self._behind: dict[TopicPartition, int] = {}
        """The offset behind the last message polled, of each partition that had one."""
        self._aside = _Quarantine(self._servers)

    def start(self) -> None:
        """Connect; `poll` joins the group. Raises TransientError where none answers, ConfigError where one refuses."""
        install()
        try:
            self._consumer = KafkaConsumer(
                *self._topics,
                bootstrap_servers=self._servers,
                group_id=self._group,
                client_id="flowatlas-pipeline",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                fetch_max_bytes=FETCH_BYTES,
                max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
                receive_message_max_bytes=MAX_RESPONSE_BYTES,
                metadata_max_age_ms=30_000,
                reconnect_backoff_max_ms=2_000,
                bootstrap_timeout_ms=int(CONNECT_SECONDS * 1000),
                metrics_enabled=False,
            )
        except (*_REFUSED, kafka_errors.KafkaConfigurationError) as error:
            raise ConfigError(f"bus: {','.join(self._servers)}: {error}") from error
        except (kafka_errors.KafkaError, OSError) as error:
            raise TransientError(f"bus: no broker answers at {','.join(self._servers)}: {error}") from error

    def poll(self, timeout_s: float) -> list[Message]:
        """New messages of the partitions that the group gave us, about FETCH_BYTES at most."""
        with _sorted_errors():
            records = self._consumer.poll(timeout_ms=int(timeout_s * 1000))
        self._behind |= {partition: batch[-1].offset + 1 for partition, batch in records.items()}
        return [_message(record) for batch in records.values() for record in batch]

    def mark(self) -> object:
        """The offsets behind everything polled."""
        with _sorted_errors():
            mine = self._consumer.assignment()
            return {p: self._consumer.position(p, timeout_ms=int(ANSWER_SECONDS * 1000)) for p in mine}

    def commit(self, mark: object = None) -> None:
        """Commit the offsets behind everything polled, or the mark, after what was put aside has arrived.

        Raises TransientError where the group moved on without us: what we polled will be delivered again.
        """
        self._aside.flush()
        if self._group is None:
            return
        with _sorted_errors():
            offsets = None
            if mark is not None:
                told = cast("dict[TopicPartition, int | None]", mark)
                mine = self._consumer.assignment()  # others are another reader's by now
                offsets = {p: OffsetAndMetadata(at, "", -1) for p, at in told.items() if p in mine and at is not None}
            self._consumer.commit(offsets, timeout_ms=int(ANSWER_SECONDS * 1000))

    def caught_up(self) -> bool:
        """Whether we stand at the end of all our partitions; False until the group has given us any or none."""
        with _sorted_errors():
            mine: set[TopicPartition] = self._consumer.assignment()
            if not mine:
                if self._group is None:
                    return False  # the topic is not there, or not known yet
                return bool(self._consumer.group_metadata().state.name == "STABLE")
            try:
                positions = {p: self._consumer.position(p, timeout_ms=int(ANSWER_SECONDS * 1000)) for p in mine}
                if any(positions[p] < (self._consumer.highwater(p) or 0) for p in mine):
                    return False
                ends = self._consumer.end_offsets(list(mine), timeout_ms=int(ANSWER_SECONDS * 1000))
            except kafka_errors.RetriableError:
                return False
        return all(positions[p] is not None and positions[p] >= ends[p] for p in mine)

    def lag(self) -> Mapping[str, int]:
        """Messages by topic that the last answers of brokers told of and that were not polled yet."""
        if self._consumer is None:
            return {}
        lag: Counter[str] = Counter()
        for partition in self._consumer.assignment():
            end = self._consumer.highwater(partition)
            if end is not None:
                lag[partition.topic] += max(0, end - self._behind.get(partition, end))
        return lag

    def quarantine(self, message: Message, reason: str) -> None:
        """Send a message, cut to QUARANTINED_BYTES, to QUARANTINE_TOPIC. An outage costs the message alone."""
        self._aside.put(message, reason)

    def stop(self) -> None:
        """Leave the group and close; safe to call twice."""
        self._aside.close()
        if self._consumer is not None:
            self._consumer.close(autocommit=False, timeout_ms=int(ANSWER_SECONDS * 1000))
            self._consumer = None


class _Quarantine:
    """A producer that exists once something had to be put aside. After a failure it is left alone for a while."""

    def __init__(self, servers: list[str]) -> None:
        self._servers = servers
        self._producer: Any = None
        self._pending: list[Any] = []
        self._resume_at = 0.0

    def put(self, message: Message, reason: str) -> None:
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
                    max_block_ms=int(QUARANTINE_SECONDS * 1000),
                    request_timeout_ms=int(ANSWER_SECONDS * 500),
                    delivery_timeout_ms=int(ANSWER_SECONDS * 1000),
                    bootstrap_timeout_ms=int(QUARANTINE_SECONDS * 1000),
                    metrics_enabled=False,
                )
            future = self._producer.send(
                QUARANTINE_TOPIC,
                key=message.key[:1024],
                value=message.value[:QUARANTINED_BYTES],
                headers=list({**theirs, **ours}.items()),
            )
        except (kafka_errors.KafkaError, OSError) as error:
            log.warning("bus: %s and what follows could not be put aside: %s", message.origin, error)
            self._resume_at = time.monotonic() + QUARANTINE_PAUSE_SECONDS
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
        self.flush()
        if self._producer is not None:
            self._producer.close(timeout=QUARANTINE_SECONDS)
            self._producer = None


def _servers(url: str) -> list[str]:
    servers = url.removeprefix(SCHEME).rstrip("/").split(",")
    for server in servers:
        try:
            parts = urlsplit(f"//{server}")
            sound = bool(parts.hostname and parts.port) and parts.netloc == server and parts.username is None
        except ValueError:
            sound = False
        if not sound:
            raise ConfigError(f"bus: {url!r} is not kafka://HOST:PORT[,HOST:PORT]")
    return servers


def _message(record: Any) -> Message:
    value: bytes = record.value or b""
    flaw = value.flaw if isinstance(value, FlawedValue) else ""
    if not flaw and len(value) > MAX_MESSAGE_BYTES:
        flaw, value = "oversized", value[:HEAD_BYTES]
    return Message(
        topic=record.topic,
        partition=str(record.partition),
        offset=record.offset,
        key=record.key or b"",
        headers={name: content or b"" for name, content in record.headers},
        value=value,
        flaw=flaw,
        origin=f"{record.topic}/{record.partition}/{record.offset}",
    )


@contextmanager
def _sorted_errors() -> Iterator[None]:
    """The client's errors by what the caller can do about them."""
    try:
        yield
    except _REFUSED as error:
        raise PermanentError(f"bus: {error}") from error
    except (kafka_errors.KafkaError, OSError) as error:
        raise TransientError(f"bus: {error}") from error
