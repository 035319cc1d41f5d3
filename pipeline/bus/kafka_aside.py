"""The quarantine topic of Kafka, read again. It is a part of `pipeline.bus.aside`.

Kafka takes nothing out of a topic before its time, so what lies in its own topic again is told by one more message,
which names it. The invariant: that message is sent when all that it names has been acknowledged.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from kafka import errors as kafka_errors

from ..errors import TransientError
from . import Message
from .aside import Aside
from .kafka import KafkaReader
from .kafka_quarantine import IS_WHOLE, ORIGIN, OURS, REASON, SENT_BACK, TIME, open_producer
from .servers import servers_of
from .topics import QUARANTINE_TOPIC

POLL_SECONDS: Final = 0.5
CONNECT_SECONDS: Final = 10.0
_DIGITS: Final = 20  # fewer than these are a number of 64 bits, or nearly
SILENCE_SECONDS: Final = 20.0
"""A topic from which nothing comes for so long, though its end was not reached, does not answer."""


class KafkaAside:
    """What lies in QUARANTINE_TOPIC. Raises ConfigError for a wrong address."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self._url = url
        self._servers = servers_of(url)
        self._options = dict(options or {})
        self._producer: Any = None

    def read(self) -> Iterator[Aside]:
        """What lies there, from the oldest on; the topic is read twice, for who names what comes behind it."""
        sent_back = {
            name
            for message in self._messages()
            if SENT_BACK in message.headers
            for name in message.value.decode("ascii", "replace").split()
        }
        for message in self._messages():
            name = _name(message)
            if name not in sent_back and (aside := _aside(name, message)) is not None:
                yield aside

    def send_back(self, asides: Sequence[Aside]) -> None:
        """Send messages to their partitions, and when all have arrived, their names to the quarantine."""
        try:
            if self._producer is None:
                self._producer = open_producer(self._servers, self._options, CONNECT_SECONDS)
            self._send([self._again(one.message) for one in asides])
            names = "\n".join(one.name for one in asides)
            self._send([{"topic": QUARANTINE_TOPIC, "value": names.encode(), "headers": [(SENT_BACK, b"")]}])
        except (kafka_errors.KafkaError, OSError) as error:
            raise TransientError(f"bus: not sent back: {type(error).__name__}: {error}") from error

    def _again(self, message: Message) -> dict[str, Any]:
        """A message as the producer takes it, for the partition that it came from: of one node all is in one."""
        partition = int(message.partition)
        return {
            "topic": message.topic,
            "partition": partition if partition in (self._producer.partitions_for(message.topic) or ()) else None,
            "key": message.key,
            "value": message.value,
            "headers": list(message.headers.items()),
        }

    def _send(self, messages: list[dict[str, Any]]) -> None:
        """Send and wait until all are acknowledged. Raises KafkaError for the first that is not."""
        futures = [self._producer.send(**message) for message in messages]
        for future in futures:
            future.get(timeout=SILENCE_SECONDS)

    def _messages(self) -> Iterator[Message]:
        """Everything in the topic. Raises TransientError."""
        reader = KafkaReader(self._url, None, [QUARANTINE_TOPIC], self._options)
        try:
            reader.start()
            heard_at = time.monotonic()
            while True:
                messages = reader.poll(POLL_SECONDS)
                yield from messages
                if messages:
                    heard_at = time.monotonic()
                elif reader.caught_up():
                    return
                elif time.monotonic() - heard_at > SILENCE_SECONDS:
                    raise TransientError(
                        f"bus: {QUARANTINE_TOPIC} does not answer; `flowatlas topics check` looks at it"
                    )
        finally:
            reader.stop()

    def close(self) -> None:
        """End the producer, where there is one."""
        if self._producer is not None:
            self._producer.close(timeout=CONNECT_SECONDS)
            self._producer = None


def _name(message: Message) -> str:
    return f"{message.partition}/{message.offset}"


def _aside(name: str, carrier: Message) -> Aside | None:
    """What a message of the quarantine stands for; None where that is nothing."""
    headers = carrier.headers
    if REASON not in headers:
        return None
    topic, partition, offset = (*headers.get(ORIGIN, b"").decode("utf-8", "replace").rsplit("/", 2), "", "")[:3]
    is_whole = headers.get(IS_WHOLE, b"1") == b"1" and _number(partition) is not None and not carrier.flaw
    own = {key: value for key, value in headers.items() if not key.startswith(OURS)}
    message = Message(topic, partition, _number(offset) or 0, carrier.key, own, carrier.value)
    at = headers.get(TIME, b"").decode("ascii", "replace")
    return Aside(name, message, headers[REASON].decode("ascii", "replace"), _number(at) or 0, is_whole)


def _number(text: str) -> int | None:
    """A number of 64 bits, as we write one; None for what somebody else has made up."""
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < _DIGITS else -1
    return number if 0 <= number < 2**63 else None
