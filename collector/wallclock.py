"""What the wall clock was ahead of the monotonic one, and when: a clock that is set changes it. Pure.

A connection keeps the start that its first row told, by the wall clock of that look at the kernel. Whoever knows of it
by the monotonic clock finds that start again only with what the wall clock was ahead at that look.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

MOST_STEPS: Final = 256
"""How often a clock may have been set, and be known for it; before that it counts as it was then."""


class WallClock:
    """The steps of a wall clock. Changes of less than `slack_ns`, by which readings differ, are none."""

    def __init__(self, slack_ns: int) -> None:
        self._slack_ns = slack_ns
        self._looked_ns = 0
        self._steps: list[tuple[int, int]] = []
        """From when on the wall clock was ahead by how much."""

    def look(self, now_ns: int, ahead_ns: int) -> None:
        """At `now_ns` of the monotonic clock it is ahead so much: what began since the look before is told by that."""
        if not self._steps or abs(ahead_ns - self._steps[-1][1]) > self._slack_ns:
            self._steps = [*self._steps[1 - MOST_STEPS :], (self._looked_ns, ahead_ns)]
        self._looked_ns = now_ns

    def ahead(self, monotonic_ns: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """By how much it was ahead for what began at these instants. There has been a look."""
        since, ahead = np.array(self._steps, np.int64).T
        at = np.searchsorted(since, monotonic_ns.astype(np.int64), side="left") - 1
        found: npt.NDArray[np.int64] = ahead[np.maximum(at, 0)]
        return found
