"""Batches and their names: what goes on the bus, and what its headers say of it.

The invariant: a batch is named by (node, epoch, seq) and that name is never used for other rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from .tables import KNOWN_TABLES, OLDEST_VERSION, TABLES, VERSION, Table

MAX_ROWS: Final = 20_000
MAX_INFLATED_BYTES: Final = 8 * 1024 * 1024
MAX_MESSAGE_BYTES: Final = 1024 * 1024
"""Of a batch, encoded, with its key and headers."""
SEQ_LIMIT: Final = 2**40
"""An epoch of a batch a millisecond comes there after 34 years. What is between two numbers is counted as missing, so
a number that somebody makes up may not be worth more than any count."""

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
    version: int = field(default_factory=lambda: VERSION)
    """What `value` is encoded in: an earlier or a later version's where another collector has left it."""

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
            "schema": self.version,
            "table": self.table,
            "node": self.node,
            "epoch": self.epoch,
            "seq": self.seq,
            "rows": self.rows,
            "bytes": self.byte_sum,
        }
        return {name: str(value).encode() for name, value in fields.items()}


class BatchName(NamedTuple):
    """What the headers claim of a batch; `parse_headers` makes it from untrusted bytes."""

    schema: int
    table: str
    node: str
    epoch: int
    seq: int
    rows: int
    byte_sum: int

    def batch(self, value: bytes) -> Batch:
        """The batch that says so of itself, to be passed on."""
        return Batch(self.table, self.node, self.epoch, self.seq, self.rows, self.byte_sum, value, version=self.schema)


def parse_headers(
    headers: Mapping[str, bytes], tables: Mapping[str, Table] = TABLES, *, is_any_version: bool = False
) -> BatchName:
    """Read untrusted headers; `is_any_version` is for who passes batches on and does not read them.

    Raises BatchError with reason `headers` where one is missing or malformed, `table` for one that `tables` lacks,
    `schema_version` for one that this reader does not know.
    """
    try:
        track = headers["schema"], headers["table"], headers["node"], headers["epoch"]
        version, table, node, epoch = _tracks.get(track) or _read_track(*track)
        seq, rows, byte_sum = int(headers["seq"]), int(headers["rows"]), int(headers["bytes"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BatchError("headers", f"{type(error).__name__} {str(error)[:80]}") from None
    if not (0 <= seq < SEQ_LIMIT and 0 <= rows < _LIMIT and 0 <= byte_sum < _LIMIT):
        raise BatchError("headers", "a number is out of range")
    if not is_any_version and not OLDEST_VERSION <= version <= VERSION:
        raise BatchError("schema_version", f"{version}, this reader knows {OLDEST_VERSION} to {VERSION}")
    if table not in tables:
        raise BatchError("table", table[:40])
    return BatchName(version, table, node, epoch, seq, rows, byte_sum)


_Track = tuple[int, str, str, int]
"""Version, table, node and epoch: what all batches of a node's table have in common as long as its collector runs."""

_LIMIT: Final = 2**63
_MAX_TRACKS: Final = 16_384
"""So many are remembered; all are forgotten where there are more."""
_LONGEST_NUMBERS: Final = 2 * 20
"""Zeros before a number may be many; of such nothing is remembered."""
_tracks: Final[dict[tuple[bytes, bytes, bytes, bytes], _Track]] = {}


def _read_track(schema: bytes, table: bytes, node: bytes, epoch: bytes) -> _Track:
    """Read the headers that say the same from batch to batch, and remember what they say. Raises as their bytes do."""
    named, its_node, version, number = table.decode("ascii"), node.decode("ascii"), int(schema), int(epoch)
    if not NODE_NAME.match(its_node) or not (0 <= version < _LIMIT and 0 <= number < _LIMIT):
        raise BatchError("headers", "a node's name or a number is out of range")
    track = version, named, its_node, number
    if named in KNOWN_TABLES and len(schema) + len(epoch) <= _LONGEST_NUMBERS:  # others are not worth it
        if len(_tracks) >= _MAX_TRACKS:
            _tracks.clear()
        _tracks[schema, table, node, epoch] = track
    return track
