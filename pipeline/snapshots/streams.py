"""A frame as an Arrow IPC stream (lz4), and the next one of the same name with as little encoded anew as can be.

A stream is a head, which is the schema, batches of rows, and an end; so a frame that has only got more rows is what it
was with more batches. The invariant: what is read from a stream is the frame, however it came about.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import google_crc32c
import polars as pl
import pyarrow as pa

_OPTIONS: Final = pa.ipc.IpcWriteOptions(compression="lz4")
_PREFIX: Final = 8
"""Of a message: a mark, and the length of what tells of its body, each of four bytes."""
_END: Final = b"\xff\xff\xff\xff\0\0\0\0"


@dataclass(frozen=True, slots=True)
class Stream:
    """What a frame is encoded as."""

    frame: pl.DataFrame
    head: bytes
    batches: tuple[tuple[int, bytes], ...]
    """Each with the number of its rows."""

    @property
    def length(self) -> int:
        """Bytes in all."""
        return len(self.head) + sum(len(body) for _, body in self.batches) + len(_END)

    def pieces(self) -> Iterator[bytes]:
        """The bytes, in order."""
        yield self.head
        for _, body in self.batches:
            yield body
        yield _END

    def crc32c(self) -> int:
        """Of all bytes."""
        checksum = 0
        for piece in self.pieces():
            checksum = google_crc32c.extend(checksum, piece)
        return checksum


def encoded(frame: pl.DataFrame, last: Stream | None = None) -> Stream:
    """The stream of a frame; `last` is that of what was in its place before."""
    if last is None or not _has_grown(frame, last.frame):
        head, body = _encoded(frame)
        return Stream(frame, head, ((frame.height, body),))
    batches, begin = list(last.batches), last.frame.height
    if begin == frame.height:
        return Stream(frame, last.head, last.batches)
    while batches and batches[-1][0] <= frame.height - begin:  # so that there are few, and each row is encoded rarely
        begin -= batches.pop()[0]
    _, body = _encoded(frame.slice(begin))
    return Stream(frame, last.head, (*batches, (frame.height - begin, body)))


def _has_grown(frame: pl.DataFrame, last: pl.DataFrame) -> bool:
    """Whether it is the last one with more rows at its end, or none: asked of label sets, which often are, and of what
    is empty. To compare text costs a tenth of what encoding does."""
    if frame.schema != last.schema or frame.height < last.height:
        return False
    if not last.height:
        return not frame.height
    return all(isinstance(dtype, pl.String) for dtype in frame.dtypes) and frame.head(last.height).equals(last)


def _encoded(frame: pl.DataFrame) -> tuple[bytes, bytes]:
    """Head and batches."""
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=_OPTIONS) as writer:
        writer.write_table(table)
    stream = sink.getbuffer()
    begin = _PREFIX + int.from_bytes(stream[_PREFIX // 2 : _PREFIX], "little")
    return bytes(stream[:begin]), bytes(stream[begin : -len(_END)])
