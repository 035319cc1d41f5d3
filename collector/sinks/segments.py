"""Segment files of one folder: one record each, durable and whole or not there at all.

The invariant: a segment has its name only when its content is synced; what a killed process left half-written goes when
the folder is opened.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Final

from ..schema import make_folder, sync_folder

_log = logging.getLogger(__name__)

SUFFIX: Final = ".seg"
EPOCH_DIGITS: Final = 20
"""A segment's name begins with so many digits of its epoch."""
_TEMPORARY: Final = ".part"


def segment_name(epoch: int, seq: int) -> str:
    """The file name of a batch: names sort as batches were made."""
    return f"{epoch:0{EPOCH_DIGITS}d}-{seq:012d}{SUFFIX}"


class SegmentFolder:
    """The segments of one folder, oldest first, and their size. Makes the folder; raises OSError where it cannot."""

    def __init__(self, path: Path) -> None:
        make_folder(path)
        self._path = path
        self._sizes: dict[str, int] = {}  # by name, oldest first
        self.size_bytes = 0
        found = {}
        with os.scandir(path) as entries:
            for entry in entries:  # each holds all that is told of its file, so none is kept: there may be many
                if entry.name.endswith(_TEMPORARY):
                    with contextlib.suppress(OSError):  # a disk that has become read-only: it does no harm there
                        (path / entry.name).unlink()
                elif entry.name.endswith(SUFFIX):
                    found[entry.name] = entry.stat().st_size
        for name in sorted(found):
            self._note(name, found.pop(name))

    @property
    def names(self) -> list[str]:
        """The segments' names, oldest first."""
        return list(self._sizes)

    def has(self, name: str) -> bool:
        """Whether there is such a segment."""
        return name in self._sizes

    def _note(self, name: str, size: int) -> None:
        self._sizes[name] = size
        self.size_bytes += size

    def write(self, name: str, content: bytes) -> None:
        """Make one segment appear, durable and whole; leaves nothing behind where it raises OSError."""
        temporary = self._path / f".{name}{_TEMPORARY}"
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self._path / name)
            sync_folder(self._path)
        except OSError:
            for path in (temporary, self._path / name):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            raise
        self._note(name, len(content))

    def read(self, name: str) -> bytes:
        """The content of one segment. Raises OSError where the disk does not give it, or somebody has deleted it."""
        return (self._path / name).read_bytes()

    def last_read(self, name: str) -> bytes:
        """The same of one that is to be deleted in any case: empty where it cannot be read."""
        try:
            return self.read(name)
        except OSError as error:
            _log.warning("bus: segment not read: %s", error)
            return b""

    def delete(self, name: str) -> None:
        """Delete one segment; one that somebody else deleted is gone too."""
        self.size_bytes -= self._sizes.pop(name)
        try:
            (self._path / name).unlink()
        except OSError as error:
            _log.warning("bus: segment not deleted: %s", error)

    def drop_before(self, name: str) -> None:
        """Delete the segments whose names sort before `name`."""
        for old in self.names:
            if old >= name:
                break
            self.delete(old)

    def pop_oldest(self) -> tuple[str, bytes]:
        """Delete the oldest segment and return its name and content; empty where the disk does not give it."""
        name = next(iter(self._sizes))
        content = self.last_read(name)
        self.delete(name)
        return name, content
