"""Valid batches of any shape, as collectors encode them, and the messages that carry them."""

from __future__ import annotations

from typing import Any

import google_crc32c
import numpy as np
import zstandard
from msgspec.structs import replace

from collector.schema import (
    COUNTERS,
    MAGIC,
    OUTCOMES,
    PREFIX,
    SCOPES,
    TABLES,
    UTF8,
    VERSION,
    Batch,
    Table,
    encode,
    frame_of,
)
from pipeline.bus import Message

LIMITS = {"outcome": len(OUTCOMES), "opened": 2, "closed": 2, "scope": len(SCOPES), "exchanges": 2, "app_protocol": 4}


def columns(table: Table, rows: int, seed: int = 0) -> dict[str, Any]:
    """Random columns that pass all rules."""
    random = np.random.default_rng(seed)
    return {
        name: [f"eth{i % 10}" for i in range(rows)]
        if kind == UTF8
        else random.integers(0, LIMITS.get(name, 200), rows).astype(kind)
        for name, kind in table.columns.items()
    }


def batch(
    table: str = "flows", *, node: str = "node1", epoch: int = 1, seq: int = 0, rows: int = 10, **changed: Any
) -> Batch:
    """A batch of random rows; `changed` columns replace the random ones."""
    described = TABLES[table]
    content = {**columns(described, rows, seed=seq), **changed}
    byte_sum = sum(int(content[name].astype(object).sum()) for name in described.bytes_columns) if rows else 0
    return Batch(table, node, epoch, seq, rows, byte_sum, encode(described, content))


def message(source: Batch, **changed: Any) -> Message:
    """The message that carries a batch; `changed` fields replace the true ones."""
    plain = Message(source.topic, source.node, source.seq, source.key, source.headers(), source.value)
    return replace(plain, **changed)


def of_version_after(source: Batch) -> Message:
    """A batch as a collector of the next version may ship it."""
    newer = str(VERSION + 1).encode()
    value = PREFIX.pack(MAGIC, VERSION + 1, 0, 0) + source.value[PREFIX.size :]
    return message(source, headers={**source.headers(), "schema": newer}, value=value)


def counters(**changed: Any) -> Batch:
    """A batch of interface counters."""
    return batch(COUNTERS.name, **changed)


def stream_of(source: Batch) -> bytes:
    """The Arrow IPC stream inside a batch."""
    return zstandard.ZstdDecompressor().decompress(frame_of(source.value))


def sealed(frame: bytes) -> bytes:
    """A batch's value around any frame, with a true checksum."""
    return PREFIX.pack(MAGIC, VERSION, 0, google_crc32c.value(frame)) + frame


def stream_message(stream: bytes, source: Batch) -> Message:
    """The message of `source` with another Arrow IPC stream inside, compressed and sealed as ours are."""
    return message(source, value=sealed(zstandard.ZstdCompressor(level=1).compress(stream)))
