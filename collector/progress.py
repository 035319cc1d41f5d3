"""Whether a loop goes on, for probes to ask: each turn is told, and a loop that tells none for long is stuck.

Waiting for a bus or an API server that is away is going on: a restart would change nothing. Safe to use from several
threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

PATIENCE_S: Final = 120.0
"""Longer than any turn takes that ends: a flush to a slow disk, an answer that is waited for."""


class Progress:
    """Told by the loop, asked by probes. `patience_s` may be changed before the loop begins."""

    def __init__(self, patience_s: float = PATIENCE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self.patience_s = patience_s
        self._clock = clock
        self._turn_s = clock()
        self._is_ready = threading.Event()

    def turn(self) -> None:
        """The loop begins another turn."""
        self._turn_s = self._clock()

    def ready(self) -> None:
        """The loop does what it is for."""
        self._is_ready.set()

    def is_going(self) -> bool:
        """Whether a turn began within the patience."""
        return self._clock() - self._turn_s <= self.patience_s

    def is_ready(self) -> bool:
        """Whether the loop has come to what it is for, and goes on."""
        return self._is_ready.is_set() and self.is_going()
