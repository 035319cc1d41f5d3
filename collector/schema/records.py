"""How a message lies in a segment file of the file:// bus: a record of its headers and its value."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Final

from .batches import BatchError

RECORD: Final = struct.Struct("<4sII")  # magic, length of the JSON headers, length of the value
RECORD_MAGIC: Final = b"FLWR"


def pack_record(headers: Mapping[str, bytes], value: bytes) -> bytes:
    """One message as it lies in a segment file: fixed prefix, headers as JSON, value."""
    text = json.dumps({k: v.decode("ascii") for k, v in headers.items()}, separators=(",", ":")).encode()
    return RECORD.pack(RECORD_MAGIC, len(text), len(value)) + text + value


def unpack_records(segment: bytes) -> Iterator[tuple[dict[str, bytes], bytes]]:
    """The (headers, value) pairs of a segment file. Raises BatchError `segment` at the first byte that is not ours."""
    offset = 0
    while offset < len(segment):
        if len(segment) - offset < RECORD.size:
            raise BatchError("segment", f"{len(segment) - offset} bytes are left at offset {offset}")
        magic, header_length, value_length = RECORD.unpack_from(segment, offset)
        start = offset + RECORD.size
        end = start + header_length + value_length
        if magic != RECORD_MAGIC or end > len(segment):
            raise BatchError("segment", f"no record at offset {offset}")
        try:
            headers = json.loads(segment[start : start + header_length])
            pairs = {str(k): str(v).encode("ascii") for k, v in headers.items()}
        except (ValueError, AttributeError, RecursionError):
            raise BatchError("segment", f"bad headers at offset {start}") from None
        yield pairs, segment[start + header_length : end]
        offset = end
