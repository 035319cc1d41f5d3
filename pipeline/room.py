"""How many rows there is room for: where the limit of memory is near, fewer go through the stages at once.

A large chunk of rows costs less processor time a row, and more memory while it goes through: a pipeline that catches up
under a tight limit is better slow than killed. The limit is the container's, as version 2 of the kernel's control
groups tells it; without one, or with none that can be read, there is room. The invariant: there is always room for a
few rows, so that it goes on, whatever is told.

Source: the kernel's Documentation/admin-guide/cgroup-v2.rst, "memory.max" and "memory.stat".
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

CGROUP: Final = Path("/sys/fs/cgroup")
"""The control group of a container, as the container sees it."""
ROW_BYTES: Final = 2_000
"""So much of the room a row is given: 700 bytes were measured without a history, beside which others need room too."""
LEAST_ROWS: Final = 5_000
_ANONYMOUS: Final = re.compile(r"^anon (\d+)$", re.MULTILINE)
"""What no file stands behind, of all processes of the group: the rest of what it uses can be taken back."""


def rows_within(most: int, cgroup: Path = CGROUP) -> int:
    """How many rows may go through the stages at once, `most` at most."""
    try:
        limit = int((cgroup / "memory.max").read_text())  # `max` is no number
        used = _ANONYMOUS.search((cgroup / "memory.stat").read_text())
    except (OSError, ValueError):
        return most
    room = limit - int(used[1]) if used else limit
    return min(most, max(LEAST_ROWS, room // ROW_BYTES))
