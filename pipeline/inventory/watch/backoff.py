"""How long to stay away from a server that does not answer as it should.

The invariant: two watchers, or two watches of one, that failed together do not come back together.
"""

from __future__ import annotations

import random
from typing import Final

FIRST_S: Final = 0.5
LONGEST_S: Final = 5.0
"""One watcher asks for a whole cluster, so that it may ask this often, and knows soon when a server is well again."""
MOST_ASKED_S: Final = 30.0
"""Longer than this is not waited, whatever the server asks for."""


class Backoff:
    """Waits that double, each with a random half taken off, until `reset`."""

    def __init__(self, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._next_s = first_s

    def reset(self) -> None:
        """Something went well: begin small again."""
        self._next_s = self._first_s

    def wait_s(self, asked_s: float = 0.0) -> float:
        """The next wait; never shorter than what the server asked for, up to MOST_ASKED_S."""
        spread = self._next_s * random.uniform(0.5, 1.0)  # noqa: S311  # no secret
        self._next_s = min(2 * self._next_s, self._longest_s)
        return max(spread, min(asked_s, MOST_ASKED_S))
