"""The headers of a batch of rows as they lie in a record of Kafka, read at once.

A collector writes seven headers in one order (`collector.schema.Batch.headers`), of which the first four are the same
in all batches of one table that it ships. So what these four were read to is remembered, and of the others the numbers
are picked. The invariant: what comes out is what reading byte by byte gives, or None.
"""

from __future__ import annotations

import re
from typing import Final

from kafka.record.util import decode_varint

FIRST: Final = ("schema", "table", "node", "epoch")
LAST: Final = ("seq", "rows", "bytes")
MAX_REMEMBERED: Final = 16_384
"""Of nodes' tables. All are forgotten where there are more, as they are at once where somebody makes them up."""
MAX_BYTES: Final = 512
"""Of what is remembered of one: a node's name has 253 at most."""
_COUNT: Final = bytes([2 * (len(FIRST) + len(LAST))])


def _name(name: str) -> bytes:
    return bytes([2 * len(name)]) + name.encode()


_SEQ: Final = _name(LAST[0])
_NUMBERS: Final = re.compile(b"".join(_name(name) + rb"(.)([0-9]{1,20})" for name in LAST), re.DOTALL)
_remembered: Final[dict[bytes, dict[str, bytes]]] = {}


def headers_of(content: bytes) -> dict[str, bytes] | None:
    """The headers that fill the end of a record, their count before them; None for any that batches do not have."""
    at = content.find(_SEQ)
    first = content[:at]
    known = _remembered.get(first)
    if known is None:
        if at < 0 or len(first) > MAX_BYTES or (known := _read(first)) is None:
            return None
        if len(_remembered) >= MAX_REMEMBERED:
            _remembered.clear()
        _remembered[first] = known
    found = _NUMBERS.fullmatch(content, at)
    if found is None:
        return None
    seq_size, seq, rows_size, rows, bytes_size, byte_sum = found.groups()
    if (seq_size[0], rows_size[0], bytes_size[0]) != (2 * len(seq), 2 * len(rows), 2 * len(byte_sum)):
        return None
    headers = known.copy()
    headers["seq"], headers["rows"], headers["bytes"] = seq, rows, byte_sum
    return headers


def _read(first: bytes) -> dict[str, bytes] | None:
    """The first headers and room for the others, from exactly their bytes."""
    headers = dict.fromkeys((*FIRST, *LAST), b"")
    if not first.startswith(_COUNT):
        return None
    at = len(_COUNT)
    try:
        for name in FIRST:
            if not first.startswith(_name(name), at):
                return None
            size, at = decode_varint(first, at + len(_name(name)))
            if size < 0:
                return None
            headers[name] = first[at : at + size]
            at += size
    except (IndexError, ValueError):
        return None
    return headers if at == len(first) else None
