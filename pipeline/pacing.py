"""When to publish next. It reads no clock and publishes nothing.

What is counted is shown each window, if counting gets at least half of one in between. Far behind the bus nobody can
see what is new, so a share of the time is enough for all that publishing takes: metrics, snapshot and pages. The
invariant: what is due has waited MOST_BETWEEN windows at most, and no longer than usual once the bus is not far ahead.
"""

from __future__ import annotations

from typing import Final

LEAST_BETWEEN: Final = 0.5
"""Windows that counting gets between two publications, however long they take."""
MOST_BETWEEN: Final = 10.0
"""Windows between two publications while the bus is far ahead."""
FAR_BEHIND: Final = 2_000
"""Messages waiting on the bus, about a large poll: from so many on, catching up comes before publishing each window."""
SHARE: Final = 0.025
"""Of the time, for publishing, while the bus is far ahead; more where MOST_BETWEEN windows leave no room for it."""


class Pace:
    """When publishing is due, after what it took. All times are on one clock that never goes back."""

    def __init__(self, window_s: float, now_s: float) -> None:
        self._window_s = window_s
        self._usual_at = self._behind_at = now_s + window_s
        self._pages_s = 0.0

    def published(self, began_s: float, ended_s: float, pages_s: float) -> None:
        """A publication is over; `pages_s` is what all pages took until now, each of which is of one before."""
        took_s = ended_s - began_s + pages_s - self._pages_s
        self._pages_s = pages_s
        self._usual_at = max(began_s + self._window_s, ended_s + LEAST_BETWEEN * self._window_s)
        between_s = min(took_s * (1 - SHARE) / SHARE, MOST_BETWEEN * self._window_s)
        self._behind_at = max(self._usual_at, ended_s + between_s)

    def due_at(self, waiting: int) -> float:
        """When to publish, if so many messages wait on the bus."""
        return self._behind_at if waiting >= FAR_BEHIND else self._usual_at
