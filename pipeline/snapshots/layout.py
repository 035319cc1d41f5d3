"""The bytes of a snapshot: `magic | parts | header | lengths and checksums | magic`.

A part is one frame as `streams` has it; the header is JSON and tells where each is. The invariant: whatever
the bytes are, `decode` gives what `encode` was given, or raises SnapshotError; nothing is decoded before its CRC-32C is
found right.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import google_crc32c
import msgspec
import polars as pl
import pyarrow as pa

from .streams import Stream, encoded

MAGIC: Final = b"FLWSNAP\n"
VERSION: Final = 1
_END: Final = struct.Struct("<QI8s")  # length and CRC-32C of the header, and the magic again


class SnapshotError(Exception):
    """The bytes are no snapshot, or not the whole one that was written."""


class NewerError(Exception):
    """The snapshot is one of a later version of this program."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a snapshot holds."""

    values: Mapping[str, Any]
    """Plain values, fit for JSON."""
    frames: Mapping[str, pl.DataFrame]


class _Part(msgspec.Struct, array_like=True):
    name: str
    at: int
    length: int
    crc32c: int


class _Header(msgspec.Struct):
    version: int
    parts: list[_Part]
    values: dict[str, Any]


class Encoder:
    """Encodes one snapshot after the other; what has not changed since the last one is not encoded anew."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[Stream, int]] = {}
        """By name, with its checksum."""

    def encode(self, content: Content) -> Iterator[bytes]:
        """The pieces of the file, in order."""
        streams: dict[str, tuple[Stream, int]] = {}
        parts = []
        at = len(MAGIC)
        yield MAGIC
        for name, frame in content.frames.items():
            last = self._last.get(name)
            if last is None or last[0].frame is not frame:
                stream = encoded(frame, last[0] if last is not None else None)
                last = stream, stream.crc32c()
            streams[name] = stream, checksum = last
            parts.append(_Part(name, at, stream.length, checksum))
            at += stream.length
            yield from stream.pieces()
        self._last = streams
        header = msgspec.json.encode(_Header(VERSION, parts, dict(content.values)))
        yield header
        yield _END.pack(len(header), google_crc32c.value(header), MAGIC)


def decode(file: bytes) -> Content:
    """The content of a file. Raises SnapshotError, or NewerError where a later version has written it."""
    if len(file) < len(MAGIC) + _END.size or not file.startswith(MAGIC):
        raise SnapshotError("it does not begin as one")
    length, checksum, magic = _END.unpack_from(file, len(file) - _END.size)
    end = len(file) - _END.size
    if magic != MAGIC or length > end - len(MAGIC):
        raise SnapshotError("it does not end as one")
    header_bytes = file[end - length : end]
    if google_crc32c.value(header_bytes) != checksum:
        raise SnapshotError("the header's checksum is wrong")
    try:
        version = msgspec.json.decode(header_bytes, type=_Version).version
        if version > VERSION:
            raise NewerError(f"it is of version {version}, and this program reads up to {VERSION}")
        header = msgspec.json.decode(header_bytes, type=_Header)
    except msgspec.MsgspecError as error:
        raise SnapshotError(f"the header: {error}") from error
    return Content(header.values, {part.name: _frame(file, part) for part in header.parts})


class _Version(msgspec.Struct):
    version: int


def _frame(file: bytes, part: _Part) -> pl.DataFrame:
    stream = memoryview(file)[part.at : part.at + part.length]
    if len(stream) != part.length or google_crc32c.value(bytes(stream)) != part.crc32c:
        raise SnapshotError(f"the checksum of {part.name} is wrong")
    try:
        frame = pl.from_arrow(pa.ipc.open_stream(stream).read_all())
    except MemoryError:  # one of Arrow's exceptions too; the snapshot is as good as it was
        raise
    except (pa.ArrowException, pl.exceptions.PolarsError) as error:
        raise SnapshotError(f"{part.name}: {error}") from error
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table gives a frame
    return frame
