"""One lineage of snapshots: `DIR/GROUP/ORDINAL/WRITER-NUMBER.snapshot`, the last one and the one before it.

A writer takes a number of its own when it opens the folder, above all others', and stops when there is a higher one: so
a process that was thought dead cannot go on where its successor has. A snapshot is first `prepared`, which counts only
once it is promoted, or where the history says that it has what belongs to it. The invariant: a promoted file is whole
and on disk, and of two writers' files those of the later writer count.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from collector.schema import make_folder, sync_folder

from .. import durable
from ..errors import ConfigError, PermanentError, TransientError
from .layout import Content, Encoder, NewerError, SnapshotError, decode

log = logging.getLogger(__name__)

KEPT: Final = 2
_NUMBERS: Final = 1 << 32
"""So many snapshots at most has one writer, so that writer and number are one version that only grows."""
_NAME: Final = re.compile(r"(\d{10})-(\d{10})\.(snapshot|prepared|refused)\Z", re.ASCII)
_COUNTING: Final = ("snapshot", "prepared")
_SHORT: Final = frozenset({errno.ENOMEM, errno.EMFILE, errno.ENFILE})
"""Errors that tell nothing of the file."""
_WRITER: Final = re.compile(r"(\d{10})\.writer\Z", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Which snapshot of a lineage it is: those of a later writer come later."""

    writer: int
    number: int

    def __int__(self) -> int:
        return self.writer * _NUMBERS + self.number

    def file(self, kind: str) -> str:
        """The file's name."""
        return f"{self.writer:010d}-{self.number:010d}.{kind}"


def member_of(root: Path, group: str) -> str:
    """The name of the member of a group whose snapshots are here: made up at the first call. Raises ConfigError."""
    path = root / group / "0" / "member"
    try:
        make_folder(path.parent)
        if not path.exists():
            new = path.with_name(f"member.{os.getpid()}")
            durable.write(new, secrets.token_hex(4).encode())
            with contextlib.suppress(FileExistsError):
                os.link(new, path)
            new.unlink()
            sync_folder(path.parent)
        return path.read_text()
    except OSError as error:
        raise ConfigError(f"pipeline.snapshot: {path}: {error.strerror or error}") from error


class SnapshotFolder:
    """The snapshots of one member of one group. `open`, `load`, then `prepare` and `promote` in turn."""

    def __init__(self, root: Path, group: str, ordinal: int = 0) -> None:
        self._path = root / group / str(ordinal)
        self._encoder = Encoder()
        self._lock: int | None = None
        self._current = Version(0, 0)
        self._number = 0
        self._prepared: Version | None = None
        self.loaded = 0
        """The version of the snapshot that `load` has found."""
        self.refused = 0
        """Snapshots that were found and could not be read."""
        self.is_short = False
        """Whether the one that `load` has found has others behind it that cannot be read."""
        self.bytes = 0
        """The size of the last one that was prepared."""

    @property
    def is_open(self) -> bool:
        """Whether we have become the folder's writer."""
        return self._lock is not None

    def open(self) -> None:
        """Become the folder's writer, or become it anew. Raises TransientError while another process is it, ConfigError
        where the folder cannot be used."""
        self.close()
        try:
            make_folder(self._path)
            self._lock = os.open(self._path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            writer = max([0, *self._writers(), *(version.writer for version, _ in self._found())]) + 1
            self._current = Version(self._claim(writer), 0)
        except BlockingIOError:
            self.close()
            raise TransientError(f"snapshot: another process writes to {self._path}") from None
        except OSError as error:
            self.close()
            raise ConfigError(f"pipeline.snapshot: {self._path}: {error.strerror or error}") from error

    def has_prepared(self) -> bool:
        """Whether there is one of which the folder alone does not tell whether it counts."""
        return any(kind == "prepared" for _, kind in self._found())

    def load(self, in_history: int | None = None) -> Content | None:
        """The content of the last snapshot that counts and can be read; None where there is none.

        `in_history` is the version of the snapshot that the history has last; None for a history that tells none.
        Raises ConfigError where a later version of this program has written it, TransientError where the system is
        short of what it takes to read it, PermanentError where another has taken over: what that one writes is not
        touched.
        """
        if in_history is not None and in_history >= int(self._current):  # this folder was lost: be later than that
            self._current = Version(self._claim(in_history // _NUMBERS + 1), 0)
        self._stand()
        for version, kind in self._earlier():
            if kind == "prepared":
                path = self._path / version.file("prepared")
                if in_history is not None and int(version) <= in_history:
                    path.rename(self._path / version.file("snapshot"))
                else:
                    path.unlink(missing_ok=True)
        for version in sorted((version for version, kind in self._earlier() if kind == "snapshot"), reverse=True):
            path = self._path / version.file("snapshot")
            try:
                content = decode(path.read_bytes())
            except NewerError as error:
                raise ConfigError(f"pipeline.snapshot: {path}: {error}; it is left as it is") from None
            except (SnapshotError, OSError) as error:
                if isinstance(error, OSError) and error.errno in _SHORT:
                    raise TransientError(f"snapshot: {path}: {error.strerror}") from error
                self._stand()  # a successor deletes what is old
                log.error("snapshot: %s cannot be used: %s", path, error)  # noqa: TRY400 - it says what is wrong
                self.refused += 1
                path.rename(path.with_suffix(".refused"))
            else:
                self._stand()
                self.loaded = int(version)
                self.is_short = any(later > version for later, _ in self._found("refused"))
                return content
        self._stand()
        return None

    def prepare(self, content: Content, *, is_awaited: bool = True) -> int:
        """Write the next snapshot; it counts once it is promoted. Returns its version.

        It outlives a power cut from now on where others are to be told of it before it counts (`is_awaited`), else once
        it is promoted. Raises TransientError where the disk refuses, PermanentError where another has taken over.
        """
        self._stand()
        version = Version(self._current.writer, self._number + 1)
        self._number = version.number  # what was prepared stays, for the history may have it though nobody said so
        path = self._path / version.file("prepared")
        try:
            with path.open("wb") as file:
                for piece in self._encoder.encode(content):
                    file.write(piece)
                self.bytes = file.tell()
                file.flush()
                os.fsync(file.fileno())
            if is_awaited:
                sync_folder(self._path)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise TransientError(f"snapshot: {path}: {error.strerror or error}") from error
        self._prepared = version
        return int(version)

    def promote(self) -> None:
        """Let what is prepared count. Raises as `prepare` does; it may be called again then."""
        assert self._prepared is not None  # noqa: S101 - prepare comes before
        self._stand()
        version = self._prepared
        try:
            prepared = self._path / version.file("prepared")
            if prepared.exists():  # else the last call came to the end of this
                prepared.rename(self._path / version.file("snapshot"))
            sync_folder(self._path)
            self._current, self._prepared = version, None
            self._forget_old()
        except OSError as error:
            raise TransientError(f"snapshot: {self._path}: {error.strerror or error}") from error

    def close(self) -> None:
        """Let the folder go; safe to call twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _stand(self) -> None:
        """Raise PermanentError where another writer has come since."""
        try:
            latest = max(self._writers(), default=0)
        except OSError as error:
            raise TransientError(f"snapshot: {self._path}: {error.strerror or error}") from error
        if latest > self._current.writer:
            raise PermanentError(f"snapshot: another process has taken over {self._path}; nothing is committed here")

    def _claim(self, writer: int) -> int:
        while True:
            try:
                os.close(os.open(self._path / f"{writer:010d}.writer", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            except FileExistsError:
                writer += 1
            else:
                break
        sync_folder(self._path)
        for earlier in self._writers():
            if earlier < writer:
                (self._path / f"{earlier:010d}.writer").unlink(missing_ok=True)
        return writer

    def _forget_old(self) -> None:
        for version, kind in list(self._found()):
            if kind == "prepared" and version < self._current:
                (self._path / version.file(kind)).unlink(missing_ok=True)
        promoted = sorted((version for version, kind in self._found() if kind == "snapshot"), reverse=True)
        for version in promoted[KEPT:]:
            (self._path / version.file("snapshot")).unlink(missing_ok=True)

    def _writers(self) -> list[int]:
        return [int(match[1]) for path in self._path.iterdir() if (match := _WRITER.match(path.name))]

    def _earlier(self) -> list[tuple[Version, str]]:
        """What writers before us have left."""
        return [found for found in self._found() if found[0].writer < self._current.writer]

    def _found(self, *kinds: str) -> Iterator[tuple[Version, str]]:
        for path in self._path.iterdir():
            if (match := _NAME.match(path.name)) and match[3] in (kinds or _COUNTING):
                yield Version(int(match[1]), int(match[2])), match[3]
