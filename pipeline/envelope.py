"""One message of the bus out of its envelope: everything about a batch that can be told without its rows.

The content of the frame is not looked at: that is `pipeline.decode`'s affair. Whatever bytes come, nothing but
BatchError is raised, and what an `Opened` says has been checked, but for what only the rows can bear out.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import zstandard

from collector.schema import (
    MAX_INFLATED_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_ROWS,
    STATE,
    TABLES,
    BatchError,
    BatchName,
    Table,
    frame_of,
    parse_headers,
)

from .bus import Message


class Opened(msgspec.Struct, frozen=True):
    """One batch out of its envelope, as a zstd frame. Its content has not been looked at: only `merged` may."""

    name: BatchName
    frame: bytes
    size: int
    """Bytes of the content, as the frame declares."""


def open_batch(message: Message, tables: Mapping[str, Table] = TABLES) -> Opened:
    """Check everything about one message but its rows. Raises BatchError."""
    if message.flaw:
        raise BatchError(message.flaw, message.origin)
    if len(message.value) > MAX_MESSAGE_BYTES:
        raise BatchError("oversized", f"{len(message.value)} bytes")
    headers = message.headers
    name = parse_headers(headers, tables)
    if name.rows > MAX_ROWS:
        raise BatchError("rows", f"the headers say {name.rows}, at most {MAX_ROWS} are allowed")
    if message.topic != tables[name.table].topic:
        raise BatchError("table", f"{name.table} in {message.topic}")
    key = message.key.partition(b"/")[0] if name.table == STATE.name else message.key  # behind it is a slot
    if key != headers["node"]:
        raise BatchError("node", f"{name.node} under the key {message.key[:64]!r}")
    frame = frame_of(message.value, name.schema)
    return Opened(name, frame, _inflated_size(frame))


def _inflated_size(frame: bytes) -> int:
    """What a zstd frame declares, within the cap."""
    try:
        size: int = zstandard.get_frame_parameters(frame).content_size
    except zstandard.ZstdError as error:
        raise BatchError("inflate", str(error)[:120]) from None
    if not 0 < size <= MAX_INFLATED_BYTES:  # an unknown size is the largest number
        raise BatchError("inflate", f"{size} bytes declared")
    return size
