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
        """Whether somebody is expected to have asked again by `until_s`; who has asked only once, at any time soon."""
        here = {by: asked for by, asked in self._asked.items() if now_s - asked[0] <= _patience_s(asked[1])}
        self._asked = here
        return any(
            now_s - last_s <= _PATIENCE_SECONDS if math.isinf(every_s) else last_s + every_s <= until_s
            for last_s, every_s in here.values()
        )


def _patience_s(every_s: float) -> float:
    return max(_PATIENCE_SECONDS, _PATIENCE * every_s)
