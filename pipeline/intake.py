"""Messages of the bus to batches that are sound and new; the rest is counted by reason.

It reads no bus and applies nothing. The invariant: a batch leaves here at most once, and a message that cannot be read
stays in `refused` until somebody has put it aside.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from collector.schema import BatchError

from .batches import BatchLedger
from .bus import Message
from .decode import Decoded, decode
from .outputs.meters import Meters
from .watermarks import Watermarks

log = logging.getLogger(__name__)

CHUNK_ROWS: Final = 200_000
"""Rows that go through the stages at once: enough to be fast, few enough to bound memory."""
LATENESS_SECONDS: Final = 60.0
"""How far behind the newest row of a partition others may be before they are late."""
WARNING_SECONDS: Final = 60.0
"""A reason of refusal is logged at most this often."""


class Intake:
    """Decodes messages, refuses what is unsound and passes over what came before."""

    def __init__(self, meters: Meters, lateness_s: float = LATENESS_SECONDS, chunk_rows: int = CHUNK_ROWS) -> None:
        self.refused: deque[tuple[Message, str]] = deque()
        """Messages to quarantine, each with its reason; whoever does takes them out."""
        self._meters = meters
        self._chunk_rows = chunk_rows
        self._ledger = BatchLedger()
        self._watermarks = Watermarks(lateness_s)
        meters.duplicates, meters.late = self._ledger.duplicates, self._ledger.late
        self._warned_at: dict[str, float] = {}

    def take(self, messages: Sequence[Message]) -> Iterator[list[Decoded]]:
        """The batches that are sound and new, in order, in chunks of about `chunk_rows` rows."""
        chunk: list[Decoded] = []
        rows = 0
        for message in messages:
            with self._meters.stage("decode"):
                batch = self._decode(message)
            if batch is None:
                continue
            chunk.append(batch)
            rows += batch.name.rows
            if rows >= self._chunk_rows:
                yield chunk
                chunk, rows = [], 0
        if chunk:
            yield chunk

    def missing(self) -> Mapping[str, int]:
        """Batches that have not come while later ones of the same node have, by node."""
        return self._ledger.missing()

    def state(self) -> dict[str, Any]:
        """Which batches have come, as plain values."""
        return {**self._ledger.to_dict(), "event_times": self._watermarks.state()}

    def restore(self, values: Mapping[str, Any]) -> None:
        """Take up which batches have come."""
        self._ledger = BatchLedger.from_dict(values)
        self._watermarks.restore(values["event_times"])
        self._meters.duplicates, self._meters.late = self._ledger.duplicates, self._ledger.late

    def watermark(self) -> int | None:
        """Event time up to which everything is taken to be here, in ns; None where nothing comes."""
        return self._watermarks.watermark(time.time_ns())

    def _decode(self, message: Message) -> Decoded | None:
        try:
            batch = decode(message)
        except BatchError as error:
            self._refuse(message, error)
            return None
        if not self._ledger.accept(batch.name):
            return None
        now_ns = time.time_ns()
        arrival = self._watermarks.see((message.topic, message.partition), batch.frame["time"], now_ns)
        self._meters.arrived(batch.name.node, arrival.late_rows, is_ahead=arrival.is_ahead)
        return batch

    def _refuse(self, message: Message, error: BatchError) -> None:
        self.refused.append((message, error.reason))
        self._meters.quarantined(error.reason)
        now = time.monotonic()
        if now - self._warned_at.get(error.reason, -WARNING_SECONDS) >= WARNING_SECONDS:
            self._warned_at[error.reason] = now
            log.warning("quarantined %s: %s", message.origin, error)
