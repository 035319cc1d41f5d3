"""What stands on the bus after a watcher, read in the plainest way: every row, and the state that they add up to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import zstandard

from collector.schema import KNOWN_TABLES, STATE, STATE_OPS, Batch, frame_of, parse_headers, unpack_records

Row = dict[str, Any]
Key = tuple[str, str, str]


def rows_of(value: bytes) -> list[Row]:
    """The rows of one batch value."""
    with pa.ipc.open_stream(zstandard.ZstdDecompressor().decompress(frame_of(value))) as reader:
        rows: list[Row] = reader.read_all().to_pylist()
    for row in rows:
        row["op"] = STATE_OPS[row["op"]]
    return rows


@dataclass
class Log:
    """Batches of one watcher, checked as they come. `state` is what the newest synced epoch says now."""

    state: dict[Key, Row] = field(default_factory=dict)
    marked_ns: int = 0
    epochs: list[int] = field(default_factory=list)
    synced: list[int] = field(default_factory=list)
    changes: list[Row] = field(default_factory=list)
    """Puts and deletes after a `synced`, of all epochs, in order."""
    _next: int = 0
    _rising: dict[Key, Row] = field(default_factory=dict)

    def add(self, epoch: int, seq: int, value: bytes) -> None:
        if not self.epochs or epoch != self.epochs[-1]:
            assert not self.epochs or epoch > self.epochs[-1]
            self.epochs.append(epoch)
            self._next, self._rising = 0, {}
        assert seq == self._next, "a batch is missing"
        self._next += 1
        for row in rows_of(value):
            self._row(row, epoch)

    def _row(self, row: Row, epoch: int) -> None:
        key = (row["kind"], row["namespace"], row["name"])
        is_synced = epoch in self.synced
        if row["op"] == "mark":
            assert is_synced, "a mark before the epoch is synced"
            assert row["time"] >= self.marked_ns
            self.marked_ns = row["time"]
        elif row["op"] == "synced":
            self.state = self._rising
            self.synced.append(epoch)
        elif not is_synced:
            assert row["op"] == "put", "only puts before the epoch is synced"
            self._rising[key] = row
        else:
            self.changes.append(row)
            if row["op"] == "put":
                self.state[key] = row
            else:
                assert self.state.pop(key)["uid"] == row["uid"]

    def names(self, kind: str) -> set[str]:
        return {name for k, _, name in self.state if k == kind}

    def body(self, kind: str, name: str, namespace: str = "default") -> Mapping[str, Any]:
        decoded: Mapping[str, Any] = msgspec.json.decode(self.state[kind, namespace, name]["body"])
        return decoded


def of_batches(batches: Iterable[Batch]) -> Log:
    log = Log()
    for batch in batches:
        log.add(batch.epoch, batch.seq, batch.value)
    return log


def of_folder(bus: Path, node: str = "cluster-watcher") -> Log:
    """What a bus folder holds of the state; epochs whose beginning was deleted are passed over."""
    log = Log()
    skipped: set[int] = set()
    for path in sorted((bus / STATE.topic / node).glob("*.seg")):
        for headers, value in unpack_records(path.read_bytes()):
            name = parse_headers(headers, KNOWN_TABLES)
            if name.epoch in skipped or (name.epoch not in log.epochs and name.seq):
                skipped.add(name.epoch)
                continue
            log.add(name.epoch, name.seq, value)
    return log
