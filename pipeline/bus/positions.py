"""How far one group has read a folder of segments: a small file that changes whole or not at all.

Kept for each topic and node: how many messages were read, and the last sequence number read of each epoch that still
has segments. Epochs are not assumed to grow: a node's clock may have been set back between two starts of its collector.
"""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path
from typing import Final

import msgspec

from collector.schema import make_folder

from .. import durable
from ..errors import ConfigError, TransientError
from . import Places

GROUP_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


class Position(msgspec.Struct):
    """Where the group stands in one node's folder of one topic."""

    messages: int = 0
    epochs: dict[int, int] = msgspec.field(default_factory=dict)

    def copy(self) -> Position:
        """An independent one."""
        return Position(self.messages, dict(self.epochs))


Positions = dict[str, dict[str, Position]]
"""By topic, then by node."""


def positions_of(places: Places) -> Positions:
    """Positions as plain values, read back from JSON too. Raises ConfigError where they are of another bus."""
    try:
        return msgspec.convert(places, Positions, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"bus: these are no positions in a folder of segments: {error}") from error


class PositionFile:
    """`DIR/.positions/GROUP.json`, held by one reader at a time."""

    def __init__(self, folder: Path, group: str) -> None:
        if not GROUP_NAME.match(group):
            raise ConfigError(f"group: {group!r} is not a name of letters, digits, '.', '_' and '-'")
        self._path = folder / ".positions" / f"{group}.json"
        self._lock: int | None = None

    def open(self) -> Positions:
        """Take the group's lock and read its positions.

        Raises TransientError while another reader holds the group, ConfigError where the file cannot be used.
        """
        try:
            make_folder(self._path.parent)
            self._lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise TransientError(
                f"bus: another process reads as group {self._path.stem} in {self._path.parent}"
            ) from None
        except OSError as error:
            self.close()
            raise ConfigError(f"bus: positions cannot be kept: {error}") from error
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Positions)
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            self.close()
            raise ConfigError(
                f"bus: {self._path}: {error}; remove the file to read again from the oldest segment"
            ) from error

    def save(self, positions: Positions) -> None:
        """Replace the file by these positions, durably. Raises TransientError where the disk refuses."""
        try:
            durable.write(self._path, msgspec.json.encode(positions))
        except OSError as error:
            raise TransientError(f"bus: positions not kept: {error}") from error

    def close(self) -> None:
        """Let the group go; safe to call twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
