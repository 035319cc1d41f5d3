"""A bounded folder of messages that could not be read, for a person to look at, or for a later pipeline to read.

Each is two files: `NAME.value`, the bytes as they came, and `NAME.json`, which says why and where from. The name is
made of topic, partition and offset, so a message that is delivered again replaces itself. The oldest go first.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from . import Message

FOLDER: Final = ".quarantine"
"""In the folder of the bus."""
LIMIT_BYTES: Final = 64 * 1024 * 1024
LIMIT_MESSAGES: Final = 4096
_LONGEST_TEXT: Final = 1024


class Note(msgspec.Struct, frozen=True):
    """What is noted of a message beside its value. Text that is not ASCII, or too long, is told and not kept."""

    reason: str
    origin: str
    topic: str
    partition: str
    offset: int
    key: str
    headers: Mapping[str, str]
    value: str
    """The name of the file with the value."""
    at_ns: int = 0
    """0 where it was not noted, as earlier versions did not."""
    is_whole: bool = True
    """Whether key, headers and value are all as they came; where that was not noted, who reads them will see."""


class QuarantineFolder:
    """Keeps at most `limit_messages` messages with `limit_bytes` of values. Nothing is read or made before `put`."""

    def __init__(self, path: Path, limit_bytes: int = LIMIT_BYTES, limit_messages: int = LIMIT_MESSAGES) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._limit_messages = limit_messages
        self._sizes: OrderedDict[str, int] | None = None
        self._total = 0

    def put(self, message: Message, reason: str) -> None:
        """Put one message aside. Raises OSError where the disk refuses."""
        sizes = self._load()
        name = f"{message.topic}.{message.partition}.{message.offset}"
        note = Note(
            reason=reason,
            origin=message.origin,
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            key=_text(message.key),
            headers={key: _text(value) for key, value in message.headers.items()},
            value=f"{name}.value",
            at_ns=time.time_ns(),
            is_whole=not message.flaw and all(map(_is_kept, (message.key, *message.headers.values()))),
        )
        (self._path / f"{name}.value").write_bytes(message.value)
        (self._path / f"{name}.json").write_text(json.dumps(msgspec.to_builtins(note), indent=1) + "\n")
        self._total += len(message.value) - sizes.pop(name, 0)
        sizes[name] = len(message.value)
        while len(sizes) > 1 and (self._total > self._limit_bytes or len(sizes) > self._limit_messages):
            oldest, size = sizes.popitem(last=False)
            self._total -= size
            (self._path / f"{oldest}.value").unlink(missing_ok=True)
            (self._path / f"{oldest}.json").unlink(missing_ok=True)

    def _load(self) -> OrderedDict[str, int]:
        if self._sizes is None:
            self._path.mkdir(parents=True, exist_ok=True)
            found = sorted(
                (path.stat().st_mtime_ns, path.stem, path.stat().st_size) for path in self._path.glob("*.value")
            )
            self._sizes = OrderedDict((name, size) for _, name, size in found)
            self._total = sum(self._sizes.values())
        return self._sizes


def _text(value: bytes) -> str:
    return value[:_LONGEST_TEXT].decode("ascii", "backslashreplace")


def _is_kept(value: bytes) -> bool:
    """Whether its text says all of it."""
    return value.isascii() and len(value) <= _LONGEST_TEXT
