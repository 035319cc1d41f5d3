"""A batch as it lies in the spool: a record with a seal among its headers, for a disk may damage those too.

A value's own checksum covers neither the headers nor its prefix; the seal covers both, and no more, so what a damaged
value held is still known. The invariant: `unpacked` returns what was packed, or raises.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Final

import google_crc32c

from ..schema import PREFIX, RECORD, Batch, BatchError, BatchName, frame_of, pack_record, parse_headers, unpack_records
from .segments import segment_name

_SEAL: Final = "seal"
_UNSEALED: Final = frozenset(("schema", "table", "node", "epoch", "seq", "rows", "bytes"))
"""All that a collector wrote before there were seals."""


def packed(batch: Batch) -> bytes:
    """The content of a segment."""
    headers = batch.headers()
    return pack_record(headers | {_SEAL: _seal(headers, batch.value)}, batch.value)


def unpacked(content: bytes, table: str, segment: str) -> Batch:
    """The batch of the segment of that name and table. Raises BatchError where it is not what was packed."""
    records = list(unpack_records(content))
    if len(records) != 1:
        raise BatchError("segment", f"{len(records)} records")
    ((headers, value),) = records
    told = _name_of(headers, value)
    if (told.table, segment_name(told.epoch, told.seq)) != (table, segment):
        raise BatchError("headers", "they are of another segment")
    frame_of(value, told.schema)
    return Batch(told.table, told.node, told.epoch, told.seq, told.rows, told.byte_sum, value)


def claimed(content: bytes) -> BatchName | None:
    """What the headers of a damaged segment say, where at least they are whole."""
    try:
        _, header_length, _ = RECORD.unpack_from(content)
        at = RECORD.size + header_length
        headers = {str(name): str(text).encode() for name, text in json.loads(content[RECORD.size : at]).items()}
        return _name_of(headers, content[at:])
    except (BatchError, ValueError, AttributeError, RecursionError, struct.error):
        return None


def _name_of(headers: Mapping[str, bytes], value: bytes) -> BatchName:
    unsealed = {name: text for name, text in headers.items() if name != _SEAL}
    seal = _seal(unsealed, value)
    if unsealed.keys() != _UNSEALED or headers.get(_SEAL, seal) != seal:
        raise BatchError("headers", "they are damaged")
    return parse_headers(unsealed)


def _seal(headers: Mapping[str, bytes], value: bytes) -> bytes:
    parts = (f"{name} ".encode("ascii", "backslashreplace") + text for name, text in sorted(headers.items()))
    return str(google_crc32c.value(b"\n".join(parts) + value[: PREFIX.size])).encode()
