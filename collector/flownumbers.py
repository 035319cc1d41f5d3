"""Names of connections: `FLOWS.flow_id`, counted up from the moment when the counting began.

So a name is not given twice on a node, also not by a collector that starts after this one: for that, connections would
have to come faster than nanoseconds pass, or the clock be set back. And names that are near each other are alike in
most of their bytes, so they are cheap to ship.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class FlowNumbers:
    """The names that are left."""

    def __init__(self) -> None:
        self._next: int | None = None

    def take(self, count: int, now_ns: int) -> npt.NDArray[np.uint64]:
        """So many names in order; the first are counted from `now_ns`, since the epoch."""
        if not count:
            return np.empty(0, np.uint64)
        if self._next is None:
            self._next = now_ns
        first, self._next = self._next, self._next + count
        return np.arange(first, first + count, dtype=np.uint64)
