"""What an agent knew and was about to send, on disk before it is sent: the next agent goes on where a killed one was.

One file of records, each framed by length and checksum, so that a record is whole or was never there. A record holds
what has changed of a source's state in one read, and the batches made of that read. Once in a while the file begins
anew with a record of everything. It is not synced: what it is for is a killed process, not a machine that loses power,
whose kernel has forgotten what the journal speaks of, too. So a folder on a tmpfs serves it best.

The order is the invariant: `stage` (a read, of which the source still has the original), `commit` (the record), the
batches are sent, `shipped` (the source may forget the original). An agent that was killed before `commit` leaves the
original to be read again; one killed later leaves batches whose names the pipeline takes once.
"""

from __future__ import annotations

import fcntl
import json
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import google_crc32c
import numpy as np
import numpy.typing as npt

from .errors import ConfigError
from .schema import Batch, BatchError, pack_record, parse_headers, unpack_records

FRAME: Final = struct.Struct("<4sIQ")  # magic, crc32c of the rest, length of the rest
MAGIC: Final = b"FLWJ"
ANEW_BYTES: Final = 8 * 1024 * 1024
"""The file begins anew where it would be longer than this and twice what it began with."""
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Part:
    """What a source keeps: plain values, and arrays."""

    values: Mapping[str, Any]
    arrays: Arrays


@dataclass(frozen=True, slots=True)
class Left:
    """What an earlier agent left: parts to apply in order, none where its kernel is gone; the last read's batches."""

    parts: Sequence[Part] = ()
    batches: Sequence[Batch] = ()
    kind: str = ""
    """Whose state it was, in which layout; empty where its kernel is gone."""


class State(Protocol):
    """A source's state, as the journal asks for it."""

    def changes(self) -> Part:
        """What has changed since the last time that changes or everything was asked for."""

    def everything(self) -> Part:
        """All of it."""


@dataclass(slots=True)
class Journal:
    """The journal in one folder, for one source of `table`; inert until `open`."""

    folder: Path
    table: str = "flows"
    left: Left = field(default_factory=Left, init=False)
    """What was there when it was opened."""
    _kind: str = field(default="", init=False)
    _file: BinaryIO | None = field(default=None, init=False)
    _began_with: int = field(default=0, init=False)
    _staged: tuple[State, Callable[[], None]] | None = field(default=None, init=False)

    def open(self, kind: str, *former: str) -> Left:
        """Read what is there and be the only one to write; `kind` tells whose state it is, and in which layout.

        A state of another kind, but those that are what earlier versions called this one, cannot be gone on with: its
        parts are left out, its last batches are not. Raises ConfigError where another agent has it or the folder cannot
        be used.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = (self.folder / "lock").open("wb")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path = self.folder / "journal"
            content = path.read_bytes() if path.exists() else b""
        except BlockingIOError:
            raise ConfigError(f"journal: another agent uses {self.folder}") from None
        except OSError as error:
            raise ConfigError(f"journal: {self.folder} cannot be used: {error}") from error
        self._began_with, self._kind = 0, kind
        self.left = _read(content, {kind, *former})
        return self.left

    def close(self) -> None:
        """Let another agent use it; safe to call twice."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def stage(self, state: State, shipped: Callable[[], None]) -> None:
        """A read has been made of the source; `shipped` is called when nothing needs its original any more."""
        self._staged = state, shipped

    def commit(self, batches: Sequence[Batch]) -> None:
        """Write what was staged, with the batches that were made of it. Raises OSError."""
        if self._staged is None:
            return
        state, _ = self._staged
        path = self.folder / "journal"
        size = path.stat().st_size if self._began_with else 0
        if self._began_with and size < max(ANEW_BYTES, 2 * self._began_with):
            record = _record(self._kind, state.changes(), batches, is_all=False)
            began_with, self._began_with = self._began_with, 0  # what is left out now is told with everything
            with path.open("ab", buffering=0) as file:
                _write(file, record)
            self._began_with = began_with
            return
        record = _record(self._kind, state.everything(), batches, is_all=True)
        temporary = self.folder / "journal.new"
        with temporary.open("wb", buffering=0) as file:
            _write(file, record)
        temporary.rename(path)
        self._began_with = len(record)

    def shipped(self) -> None:
        """What was committed has been sent."""
        if self._staged is not None:
            _, forget = self._staged
            self._staged = None
            forget()


def _write(file: Any, record: bytes) -> None:
    left = memoryview(record)
    while left:
        left = left[file.write(left) :]


def _record(kind: str, part: Part, batches: Sequence[Batch], *, is_all: bool) -> bytes:
    arrays = {name: np.ascontiguousarray(array) for name, array in part.arrays.items()}
    sent = [pack_record(batch.headers(), batch.value) for batch in batches]
    head = json.dumps(
        {
            "boot": _BOOT.read_text().strip(),
            "kind": kind,
            "is_all": is_all,
            "values": dict(part.values),
            "arrays": [(name, array.dtype.str, len(array)) for name, array in arrays.items()],
            "batches": [len(record) for record in sent],
        }
    ).encode()
    body = b"".join([len(head).to_bytes(4, "little"), head, *(array.tobytes() for array in arrays.values()), *sent])
    return FRAME.pack(MAGIC, google_crc32c.value(body), len(body)) + body


def _read(content: bytes, kinds: Collection[str]) -> Left:
    """The whole records of a journal: the parts since the last record of everything, and the last batches."""
    parts: list[Part] = []
    batches: list[Batch] = []
    its_kind = ""
    boot = _BOOT.read_text().strip()
    at = 0
    while at + FRAME.size <= len(content):
        magic, checksum, length = FRAME.unpack_from(content, at)
        body = content[at + FRAME.size : at + FRAME.size + length]
        if magic != MAGIC or len(body) < length or google_crc32c.value(body) != checksum:
            break
        at += FRAME.size + length
        size = int.from_bytes(body[:4], "little")
        head = json.loads(body[4 : 4 + size])
        place = 4 + size
        arrays = {}
        for name, dtype, count in head["arrays"]:
            arrays[name] = np.frombuffer(body, dtype, count, place)
            place += arrays[name].nbytes
        if head["is_all"]:
            parts = []
        its_kind = head.get("kind", "") if head["boot"] == boot else ""
        if its_kind in kinds:
            parts.append(Part(head["values"], arrays))
        batches = []
        for count in head["batches"]:
            batches += _batches(body[place : place + count])
            place += count
    return Left(parts, batches, its_kind)


def _batches(record: bytes) -> list[Batch]:
    """The batches of a record, also where a collector of another version has made them."""
    try:
        found = [(parse_headers(headers, is_any_version=True), value) for headers, value in unpack_records(record)]
    except BatchError:
        return []
    return [told.batch(value) for told, value in found]
