"""When somebody will ask for a page again, from when they asked before.

It reads no clock. The invariant: it remembers few, and whoever stops asking is soon not waited for any more.
"""

from __future__ import annotations

import math
from typing import Final

_MOST: Final = 64
"""So many are remembered."""
_PATIENCE: Final = 2.5
"""Who has not come for so many times the usual is gone."""
_PATIENCE_SECONDS: Final = 10.0
"""But not sooner than this: as long may a scrape wait for its answer by Prometheus's default, before the next."""


class Foresight:
    """Of those who ask, by any name, the time of the last question, and how long after the one before it was."""

    def __init__(self) -> None:
        self._asked: dict[str, tuple[float, float]] = {}

    def asked(self, by: str, now_s: float) -> None:
        """Somebody has asked."""
        last_s, _ = self._asked.pop(by, (-math.inf, 0.0))
        self._asked[by] = now_s, now_s - last_s
        if len(self._asked) > _MOST:
            del self._asked[next(iter(self._asked))]

    def expects(self, now_s: float, until_s: float) -> bool:
        """Whether somebody who has asked twice is expected to have asked again by `until_s`."""
        waits_s = {by: now_s - last_s for by, (last_s, _) in self._asked.items()}
        for by in [by for by, wait_s in waits_s.items() if wait_s > self._patience_s(by)]:
            del self._asked[by]
        return any(last_s + every_s <= until_s for last_s, every_s in self._asked.values())

    def _patience_s(self, by: str) -> float:
        return max(_PATIENCE_SECONDS, _PATIENCE * self._asked[by][1])
