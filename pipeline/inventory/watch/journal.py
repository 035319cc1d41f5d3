"""Changes as batches of the state table, in epochs that begin with all there is.

No bus and no clock. A batch takes the next slot of a ring, and a new epoch is due long before the ring is round: so a
topic that keeps the last batch of each slot holds the newest synced epoch whole, whatever happened before. The
invariant: within an epoch, batches are numbered from 0 without a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from collector.schema import MAX_INFLATED_BYTES, MAX_MESSAGE_BYTES, MAX_ROWS, STATE, STATE_OPS, Batch, encode

from .objects import Change

RING: Final = 8192
"""Slots; at a batch each quarter of a second, the log of 34 minutes."""
KEPT_NS: Final = 20 * 60 * 10**9
"""In a folder, epochs that began earlier than this before the newest synced one may go. Longer than an epoch of quiet
times lasts, so that there are two: what happened lately is told by the older one."""
LEAST_CHANGES: Final = 50_000
"""Fewer changes than this never make a new epoch due by themselves."""
_BATCH_BYTES: Final = MAX_INFLATED_BYTES // 2
"""Of text in one batch, before compression."""
_VALUE_BYTES: Final = MAX_MESSAGE_BYTES - 4096
_SLOT_NS: Final = 250_000_000


@dataclass(frozen=True, slots=True)
class _Row:
    time_ns: int
    op: str
    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    body: str = ""


class Journal:
    """The batches of one watcher, which stands where others have a node's name."""

    def __init__(self, node: str, newest_epoch: int = 0) -> None:
        """`newest_epoch` is of those that stand on the bus already, as far as that can be known."""
        self._node = node
        self._epoch = newest_epoch
        self._seq = 0
        self._slot = -1
        self._changes = 0
        self._marked_ns = 0
        self._begun: list[tuple[int, int]] = []
        """When epochs of ours began, and their numbers, which are later where a clock was set back."""
        self._oldest_kept = 0

    def begin(self, now_ns: int, everything: Iterable[Change]) -> list[Batch]:
        """A new epoch: a put of every object, and `synced`. Nothing may go until that is there."""
        if self._slot < 0:
            self._slot = now_ns // _SLOT_NS % RING
        self._epoch = max(now_ns, self._epoch + 1)
        self._seq = self._changes = self._marked_ns = 0
        batches = list(self._batches([_row(change, now_ns) for change in everything]))
        self._let_go(now_ns)
        return [*batches, *self._batches([_Row(now_ns, "synced")])]

    def extend(self, changes: Sequence[Change], marked_ns: int | None) -> list[Batch]:
        """Changes in order, then a mark where every change before `marked_ns` is said with them; none for nothing."""
        rows = [_row(change) for change in changes]
        self._changes += len(rows)
        if marked_ns is not None:
            self._marked_ns = max(marked_ns, self._marked_ns)
            rows.append(_Row(self._marked_ns, "mark"))
        return list(self._batches(rows)) if rows else []

    def is_full(self, objects: int) -> bool:
        """Whether a new epoch is due: by batches, or by changes where `objects` said anew would be fewer."""
        return self._seq >= RING // 2 or self._changes >= max(LEAST_CHANGES, 4 * objects)

    def is_ahead(self, now_ns: int) -> bool:
        """Whether a new epoch is due since the clock was set back: a mark stands for an instant that is to come."""
        return self._marked_ns > now_ns

    def _let_go(self, now_ns: int) -> None:
        """What began too long ago before an epoch that begins now may go."""
        begun = [*((min(began_ns, now_ns), epoch) for began_ns, epoch in self._begun), (now_ns, self._epoch)]
        self._begun = [one for one in begun if one[0] >= now_ns - KEPT_NS]
        oldest = self._begun[0][1] if len(self._begun) < len(begun) else now_ns - KEPT_NS
        self._oldest_kept = max(self._oldest_kept, oldest)

    def _batches(self, rows: Sequence[_Row]) -> Iterator[Batch]:
        first = size = 0
        for index, row in enumerate(rows):
            if index > first and (index - first == MAX_ROWS or size + len(row.body) > _BATCH_BYTES):
                yield from self._batch(rows[first:index])
                first, size = index, 0
            size += len(row.body)
        if first < len(rows):
            yield from self._batch(rows[first:])

    def _batch(self, rows: Sequence[_Row]) -> Iterator[Batch]:
        """One batch, or halves where rows compress so badly that they would not fit into a message."""
        value = encode(
            STATE,
            {
                "time": np.array([row.time_ns for row in rows], np.int64),
                "op": np.array([STATE_OPS.index(row.op) for row in rows], np.uint8),
                **{
                    column: [getattr(row, column) for row in rows]
                    for column in ("api_version", "kind", "namespace", "name", "uid", "body")
                },
            },
        )
        if len(value) > _VALUE_BYTES and len(rows) > 1:
            for part in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
                yield from self._batch(part)
            return
        yield Batch(STATE.name, self._node, self._epoch, self._seq, len(rows), 0, value, self._slot, self._oldest_kept)
        self._seq += 1
        self._slot = (self._slot + 1) % RING


def _row(change: Change, latest_ns: int = 2**63 - 1) -> _Row:
    known, served = change.known, change.served
    return _Row(
        min(change.time_ns, latest_ns),
        change.op,
        served.api_version,
        served.kind.name,
        known.namespace,
        known.name,
        known.uid,
        known.written.decode(),
    )
