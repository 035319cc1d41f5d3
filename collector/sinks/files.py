"""The embedded bus: a folder of segment files, one batch each, that appear whole or not at all.

A segment is DIR/<topic>/<node>/<epoch>-<seq>.seg and holds one record of `schema.pack_record`. It is written under
another name, synced, and renamed. The size of each <topic>/<node> folder is bounded: the oldest segments are deleted,
whether a reader has had them or not, and their rows count as lost with reason `retention`. Where batches say themselves
what may go (`Batch.oldest_kept`), that goes, uncounted, since later ones say it again; and nothing else.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ..errors import ConfigError
from ..metrics import Metrics
from ..schema import KNOWN_TABLES, TABLES, Batch, BatchError, Table, pack_record, parse_headers, unpack_records

_log = logging.getLogger(__name__)

SUFFIX: Final = ".seg"
_TEMPORARY: Final = ".part"


class FileSink:
    """Writes segments of `tables` under one folder. `limit_bytes` bounds each topic of each node."""

    def __init__(
        self, url: str, node: str, metrics: Metrics, limit_bytes: int, tables: Iterable[Table] = tuple(TABLES.values())
    ) -> None:
        self._root = Path(url.removeprefix("file://"))
        self._node = node
        self._metrics = metrics
        self._limit_bytes = limit_bytes
        self._tables = tuple(tables)
        self._folders: dict[str, _Folder] = {}

    def start(self) -> None:
        """Create the folders, and remove what a killed agent left half-written."""
        for table in self._tables:
            path = self._root / table.topic / self._node
            try:
                path.mkdir(parents=True, exist_ok=True)
                self._folders[table.topic] = _Folder(path)
            except OSError as error:
                raise ConfigError(f"bus: cannot write to {path}: {error}") from error

    def send(self, batch: Batch) -> None:
        """Write one segment and sync it; what the disk refuses is counted as lost."""
        folder = self._folders[batch.topic]
        record = pack_record(batch.headers(), batch.value)
        try:
            folder.write(f"{batch.epoch:020d}-{batch.seq:012d}{SUFFIX}", record)
        except OSError as error:
            _log.warning("bus: segment not written: %s", error)
            self._metrics.lost(batch.table, batch.rows, batch.byte_sum, "bus_error")
            return
        self._metrics.sent(batch)
        if batch.oldest_kept is not None:
            folder.drop_before(f"{batch.oldest_kept:020d}")
            return
        while folder.size_bytes > self._limit_bytes:
            self._expire(folder)

    def flush(self, timeout_s: float) -> bool:
        """Nothing waits: `send` has synced."""
        return True

    def stop(self) -> None:
        """Nothing is open between two segments."""

    def _expire(self, folder: _Folder) -> None:
        name, segment = folder.pop_oldest()
        try:
            for headers, _ in unpack_records(segment):
                batch = parse_headers(headers, KNOWN_TABLES)
                self._metrics.lost(batch.table, batch.rows, batch.byte_sum, "retention")
        except BatchError as error:
            _log.warning("bus: deleted a segment that was none: %s: %s", name, error)


class _Folder:
    """The segments of one topic and node, oldest first, and their size."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._segments: deque[tuple[str, int]] = deque()
        self.size_bytes = 0
        for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
            if entry.name.endswith(_TEMPORARY):
                (path / entry.name).unlink()
            elif entry.name.endswith(SUFFIX):
                self._note(entry.name, entry.stat().st_size)

    def _note(self, name: str, size: int) -> None:
        self._segments.append((name, size))
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
            directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError:
            for path in (temporary, self._path / name):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            raise
        self._note(name, len(content))

    def drop_before(self, name: str) -> None:
        """Delete the segments whose names sort before `name`."""
        while self._segments and self._segments[0][0] < name:
            self.pop_oldest()

    def pop_oldest(self) -> tuple[str, bytes]:
        """Delete the oldest segment and return its name and content; empty where somebody deleted it before."""
        name, size = self._segments.popleft()
        self.size_bytes -= size
        path, content = self._path / name, b""
        try:
            content = path.read_bytes()
            path.unlink()
        except OSError as error:
            _log.warning("bus: segment not deleted: %s", error)
        return name, content
