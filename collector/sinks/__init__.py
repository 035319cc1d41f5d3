"""Where batches go: `file://` segments or `kafka://`. Memory is bounded; what cannot be kept is counted by reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..schema import Batch

Settled = Callable[[Batch, bool], None]
"""Told of a batch whether it is done with: the bus has it, or never will, which is counted. False leaves it to whoever
is told."""


class Sink(Protocol):
    """Accepts batches in order, one at a time, from one thread."""

    def start(self) -> None:
        """Connect or create the folder. Raises ConfigError for a wrong address, TransientError where nobody answers."""

    def send(self, batch: Batch) -> None:
        """Hand one batch over; returns when it is accepted or counted as lost, within a bounded time."""

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything accepted has reached the bus; False where the time ran out first."""

    def stop(self) -> None:
        """Flush for a short time and close; safe to call twice."""
