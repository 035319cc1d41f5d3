"""What was set aside, read again: what lies there, and back to its topic with what can be read by now.

A batch of a version that a pipeline does not know yet is sound and lost to nobody: it lies in quarantine, whole, until
a later pipeline can read it. Whether it can is for the caller to say. The invariant: nothing is taken out of quarantine
before it lies in its topic again, so that whoever is stopped in between sends some of it twice, which a pipeline's
ledger of batches passes over, and loses none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from ..errors import ConfigError
from . import Message


class Aside(msgspec.Struct, frozen=True):
    """One message in quarantine, as far as it was kept, under its own topic, partition and offset."""

    name: str
    """Where it lies in the quarantine."""
    message: Message
    reason: str
    at_ns: int
    """When it was set aside; 0 where nobody noted it."""
    is_whole: bool
    """Whether all of it was kept, or nobody noted that: it can be sent again where it is sound. Else it is for a person
    to look at."""


class Quarantine(Protocol):
    """Where one bus keeps what could not be read. Raises TransientError where the bus does not answer."""

    def read(self) -> Iterator[Aside]:
        """What lies there by now and was not sent back, in the order in which it was set aside."""

    def send_back(self, asides: Sequence[Aside]) -> None:
        """Put messages that are whole behind the others of their topics, and take them out of quarantine."""

    def close(self) -> None:
        """Let go of the bus; safe to call twice."""


def open_quarantine(url: str, options: Mapping[str, Any] | None = None) -> Quarantine:
    """The quarantine of `file://DIR` or `kafka://HOST:PORT[,HOST:PORT]`. Raises ConfigError for others.

    `options` are Kafka's client's (security)."""
    scheme, _, place = url.partition("://")
    if scheme == "file" and place:
        from .file_aside import FileAside

        if not Path(place).is_dir():
            raise ConfigError(f"bus: {place} is no folder")
        return FileAside(Path(place))
    if scheme == "kafka":
        from .kafka_aside import KafkaAside

        return KafkaAside(url, options)
    raise ConfigError(f"bus: {url!r} is neither file://DIR nor kafka://HOST:PORT[,HOST:PORT]")
