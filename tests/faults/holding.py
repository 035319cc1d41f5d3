"""What processes hold while they run, seen from outside: memory, files and threads, as the kernel tells them.

What is judged is the least of each minute: a page that is made, a merge of the history and a connection that is dialled
come and go within one, and what never goes is what grows. The invariant: who is watched does nothing for it.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Final, Self

from tests.faults.slope import LEAST_LEVELS, Slope, slope_of

HELD: Final = ("memory", "files", "threads")
MOST_MB_AN_HOUR: Final = 1.0
SLACK_MB: Final = 8.0
"""What may be more at the end of a run than at its beginning, for all that is known: half an hour cannot tell 1 MB/h
from none, ten hours can."""


@dataclass(frozen=True, slots=True)
class Held:
    """By a process at an instant. MB are 10^6 bytes, resident."""

    mb: float
    files: int
    threads: int
    mapped_mb: float = 0.0
    """What of the memory a file stands behind: code, of which more is there once it was used, and never more than the
    libraries have."""

    @classmethod
    def by(cls, pid: int) -> Held:
        """Raises OSError where there is no such process (proc_pid_status(5))."""
        status = Path(f"/proc/{pid}/status").read_text()
        found = dict(re.findall(r"^(VmRSS|RssFile|Threads):\s+(\d+)", status, re.MULTILINE))
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        mb, mapped_mb = (int(found[name]) * 1024 / 1e6 for name in ("VmRSS", "RssFile"))
        return cls(mb, files, int(found["Threads"]), mapped_mb)

    def least(self, other: Held) -> Held:
        """Of two, each by itself."""
        return Held(
            min(self.mb, other.mb),
            min(self.files, other.files),
            min(self.threads, other.threads),
            min(self.mapped_mb, other.mapped_mb),
        )

    def __str__(self) -> str:
        mapped = f" ({self.mapped_mb:.1f} mapped)" if self.mapped_mb else ""
        return f"{self.mb:.1f} MB{mapped}, {self.files} files, {self.threads} threads"


class Watch:
    """Looks at processes four times a second, from `with` on."""

    def __init__(self, pids: Mapping[str, int], every_s: float = 0.25, minute_s: float = 60.0) -> None:
        self._least: dict[str, dict[int, Held]] = {name: {} for name in pids}
        self._pids = pids
        self._every_s = every_s
        self._minute_s = minute_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def minutes(self, name: str, warm: int = 0) -> dict[int, Held]:
        """The least of each minute of a process by the minute's number: of those from `warm` on that are over."""
        seen = self._least[name]
        return {minute: seen[minute] for minute in list(seen)[:-1] if minute >= warm}

    def _look(self) -> None:
        began = time.monotonic()
        while not self._ended.wait(self._every_s):
            minute = int((time.monotonic() - began) / self._minute_s)
            for name, pid in self._pids.items():
                try:
                    held = Held.by(pid)
                except (OSError, KeyError):  # it has ended
                    continue
                least = self._least[name]
                least[minute] = held.least(least.get(minute, held))


def is_flat(name: str, minutes: Mapping[int, Held], say: Callable[[str], None], judged: Collection[str] = HELD) -> bool:
    """Whether a process holds no more at the end of these minutes than at their beginning, of what is judged of HELD;
    says what was seen of all."""
    if len(minutes) < LEAST_LEVELS:
        say(f"{name}: {len(minutes)} minutes are too few to judge by")
        return True
    held = list(minutes.values())
    slope: Slope = slope_of([60.0 * minute for minute in minutes], [one.mb for one in held])
    flaws = []
    if "memory" in judged and not slope.is_flat(MOST_MB_AN_HOUR, SLACK_MB):
        flaws.append("memory GROWS" if slope.low > MOST_MB_AN_HOUR else "memory IS NOT KNOWN to be level")
    third = len(held) // 3
    for what in (what for what in ("files", "threads") if what in judged):
        before = max(getattr(one, what) for one in held[:third])
        after = min(getattr(one, what) for one in held[-third:])
        if after > before:
            flaws.append(f"{what} GROW from {before} at most to {after} at least")
    told = f"{name}: memory {slope}; {held[0]} at first, {held[-1]} at last"
    say("; ".join([told, *flaws]))
    say(f"{name}: MB by tenths of that time: {', '.join(f'{level:.0f}' for level in _tenths(held))}")
    return not flaws


def _tenths(held: Sequence[Held]) -> list[float]:
    """The memory in each tenth of the time: what grows for ever rises in all of them."""
    bounds = [round(tenth * len(held) / 10) for tenth in range(11)]
    parts = [held[first:last] for first, last in pairwise(bounds) if last > first]
    return [median(one.mb for one in part) for part in parts]
