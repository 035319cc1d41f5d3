"""Batches and their names: what goes on the bus, and what its headers say of it.

The invariant: a batch is named by (node, epoch, seq) and that name is never used for other rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .tables import KNOWN_TABLES, OLDEST_VERSION, TABLES, VERSION, Table

MAX_ROWS: Final = 20_000
MAX_INFLATED_BYTES: Final = 8 * 1024 * 1024
MAX_MESSAGE_BYTES: Final = 1024 * 1024
"""Of a batch, encoded, with its key and headers."""

NODE_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")
"""RFC 1123 subdomain, as Kubernetes names its nodes. Also what makes a node name safe as a folder's name."""


class BatchError(ValueError):
    """A batch that must not be used. `reason` is a short constant word, fit for a metric label."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Batch:
    """One encoded batch and its name. `byte_sum` is the sum of the table's `bytes_columns`."""

    table: str
    node: str
    epoch: int
    seq: int
    rows: int
    byte_sum: int
    value: bytes
    slot: int | None = None
    """On a compacted topic: a later batch of the same slot takes this one's place."""
    oldest_kept: int | None = None
    """In a folder: segments of this table and node of earlier epochs may go now, and no others. None: by size."""

    @property
    def topic(self) -> str:
        """Where batches of this table go on the bus."""
        return KNOWN_TABLES[self.table].topic

    @property
    def key(self) -> bytes:
        """The Kafka key: batches of one node keep their order in one partition; with a slot, `NODE/SLOT`."""
        return self.node.encode() if self.slot is None else f"{self.node}/{self.slot}".encode()

    @property
    def partition(self) -> int | None:
        """The Kafka partition; None leaves the choice to the key. Batches with slots have one, to stay in order."""
        return None if self.slot is None else 0

    def headers(self) -> dict[str, bytes]:
        """The message headers. All are ASCII text; numbers are decimal."""
        fields: dict[str, Any] = {
            "schema": VERSION,
            "table": self.table,
            "node": self.node,
            "epoch": self.epoch,
            "seq": self.seq,
            "rows": self.rows,
            "bytes": self.byte_sum,
        }
        return {name: str(value).encode() for name, value in fields.items()}


@dataclass(frozen=True, slots=True)
class BatchName:
    """What the headers claim of a batch; `parse_headers` makes it from untrusted bytes."""

    schema: int
    table: str
    node: str
    epoch: int
    seq: int
    rows: int
    byte_sum: int


def parse_headers(headers: Mapping[str, bytes], tables: Mapping[str, Table] = TABLES) -> BatchName:
    """Read untrusted headers.

    Raises BatchError with reason `headers` where one is missing or malformed, `table` for one that `tables` lacks,
    `schema_version` for one that this reader does not know.
    """
    try:
        node, table = headers["node"].decode("ascii"), headers["table"].decode("ascii")
        version, *numbers = (int(headers[name]) for name in ("schema", "epoch", "seq", "rows", "bytes"))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BatchError("headers", f"{type(error).__name__} {str(error)[:80]}") from None
    if not NODE_NAME.match(node) or min(version, *numbers) < 0 or max(version, *numbers) >= 2**63:
        raise BatchError("headers", "a node's name or a number is out of range")
    _check_version(version)
    if table not in tables:
        raise BatchError("table", table[:40])
    return BatchName(version, table, node, *numbers)


def _check_version(version: int) -> None:
    if not OLDEST_VERSION <= version <= VERSION:
        raise BatchError("schema_version", f"{version}, this reader knows {OLDEST_VERSION} to {VERSION}")
