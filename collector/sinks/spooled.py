"""A batch as it lies in the spool: a record with a seal among its headers, for a disk may damage those too.

A value's own checksum covers neither the headers nor its prefix; the seal covers both, and no more, so what a damaged
value held is still known. What a collector of another version has left is passed on as it is: whoever reads it judges
it. The invariant: `unpacked` returns what was packed, or raises.
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
_LONGEST_HEADERS: Final = 1024
"""Of a segment at most so much is headers, and the prefix of its value: a node's name has 253 bytes."""


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
    return told.batch(value)


def claimed(content: bytes) -> BatchName | None:
    """What the headers of a damaged segment say, where they are whole or one bit of them has flipped.

    Which one the seal tells: of all that could have flipped, one fits it by chance once in half a million segments."""
    told = _claimed(content)
    front = bytearray(content[:_LONGEST_HEADERS])
    bits = iter(range(8 * len(front)))
    while told is None and (bit := next(bits, None)) is not None:
        front[bit // 8] ^= 1 << bit % 8
        told = _claimed(bytes(front), is_sealed=True)
        front[bit // 8] ^= 1 << bit % 8
    return told


def _claimed(content: bytes, *, is_sealed: bool = False) -> BatchName | None:
    """What headers say that are whole; with `is_sealed`, that have a seal."""
    try:
        _, header_length, _ = RECORD.unpack_from(content)
        at = RECORD.size + header_length
        headers = {str(name): str(text).encode() for name, text in json.loads(content[RECORD.size : at]).items()}
        return None if is_sealed and _SEAL not in headers else _name_of(headers, content[at:])
    except (BatchError, ValueError, AttributeError, RecursionError, struct.error):
        return None


def _name_of(headers: Mapping[str, bytes], value: bytes) -> BatchName:
    unsealed = {name: text for name, text in headers.items() if name != _SEAL}
    seal = _seal(unsealed, value)
    if unsealed.keys() != _UNSEALED or headers.get(_SEAL, seal) != seal:
        raise BatchError("headers", "they are damaged")
    return parse_headers(unsealed, is_any_version=True)


def _seal(headers: Mapping[str, bytes], value: bytes) -> bytes:
    parts = (f"{name} ".encode("ascii", "backslashreplace") + text for name, text in sorted(headers.items()))
    return str(google_crc32c.value(b"\n".join(parts) + value[: PREFIX.size])).encode()
