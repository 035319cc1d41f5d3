"""The embedded bus: a folder of segment files, one batch each, that appear whole or not at all.

A segment is DIR/<topic>/<node>/<epoch>-<seq>.seg and holds one record of `schema.pack_record`. It is written under
another name, synced, and renamed. The size of each <topic>/<node> folder is bounded: the oldest segments are deleted,
whether a reader has had them or not, and their rows count as lost with reason `retention`. Where batches say themselves
what may go (`Batch.oldest_kept`), that goes, uncounted, since later ones say it again; and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ..errors import ConfigError
from ..metrics import Metrics
from ..schema import KNOWN_TABLES, TABLES, Batch, BatchError, Table, pack_record, parse_headers, unpack_records
from .segments import EPOCH_DIGITS, SegmentFolder, segment_name

_log = logging.getLogger(__name__)


class FileSink:
    """Writes segments of `tables` under one folder. `limit_bytes` bounds each topic of each node; `headers` are a
    batch's on the bus."""

    def __init__(
        self,
        url: str,
        node: str,
        metrics: Metrics,
        limit_bytes: int,
        tables: Iterable[Table] = tuple(TABLES.values()),
        headers: Callable[[Batch], Mapping[str, bytes]] = Batch.headers,
    ) -> None:
        self._root = Path(url.removeprefix("file://"))
        self._node = node
        self._metrics = metrics
        self._limit_bytes = limit_bytes
        self._tables = tuple(tables)
        self._headers = headers
        self._folders: dict[str, SegmentFolder] = {}

    def start(self) -> None:
        """Create the folders, and remove what a killed agent left half-written."""
        for table in self._tables:
            path = self._root / table.topic / self._node
            try:
                self._folders[table.topic] = SegmentFolder(path)
            except OSError as error:
                raise ConfigError(f"bus: cannot write to {path}: {error}") from error

    def send(self, batch: Batch) -> None:
        """Write one segment and sync it; what the disk refuses is counted as lost."""
        folder = self._folders[batch.topic]
        if folder.has(segment_name(batch.epoch, batch.seq)):  # a killed agent has put it there
            return
        record = pack_record(self._headers(batch), batch.value)
        try:
            folder.write(segment_name(batch.epoch, batch.seq), record)
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

    def newest_epoch(self, table: Table) -> int:
        """The newest of which a segment is there; 0 where there is none."""
        names = self._folders[table.topic].names
        return int(names[-1][:EPOCH_DIGITS]) if names and names[-1][:EPOCH_DIGITS].isdigit() else 0

    def flush(self, timeout_s: float) -> bool:
        """Nothing waits: `send` has synced."""
        return True

    def stop(self) -> None:
        """Nothing is open between two segments."""

    def _expire(self, folder: SegmentFolder) -> None:
        name, segment = folder.pop_oldest()
        try:
            for headers, _ in unpack_records(segment):
                batch = parse_headers(headers, KNOWN_TABLES, is_any_version=True)
                self._metrics.lost(batch.table, batch.rows, batch.byte_sum, "retention")
        except BatchError as error:
            _log.warning("bus: deleted a segment that was none: %s: %s", name, error)
