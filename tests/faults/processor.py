"""How quick something was, and whether it had a processor: who has to wait for one is not judged by the clock."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults.counts import IS_ALL, tell

STARVED_SECONDS: Final = 0.5
"""Who had to wait so long for a processor is not judged by how long it took."""
_NS: Final = 1e9


@dataclass(frozen=True, slots=True)
class Took:
    """How long something took, and how long threads waited for a processor meanwhile."""

    seconds: float
    waited_s: float

    @property
    def is_fed(self) -> bool:
        """Whether there was a processor when one was wanted."""
        return self.waited_s < STARVED_SECONDS


def waited_s(process: int | str = "self") -> float:
    """Seconds that the threads of a process have waited for a processor, together (the kernel's
    Documentation/scheduler/sched-stats.rst); of those that have ended it is not known."""
    total_ns = 0
    with suppress(OSError):  # it has ended
        for thread in Path(f"/proc/{process}/task").iterdir():
            with suppress(OSError):
                total_ns += int((thread / "schedstat").read_text().split()[1])
    return total_ns / _NS


def judge(what: str, took: Sequence[Took], within_s: float) -> None:
    """Tell how soon it was as half of the times and 99 of 100; where all is asked for, 99 of 100 of those that had a
    processor must be within so many seconds."""
    fed = [one for one in took if one.is_fed]
    for kind, ones in ((what, took), ("of them with a processor at hand", fed)):
        quick = f", p50 {ranked(ones, 50):.2f} s, p99 {ranked(ones, 99):.2f} s" if ones else ""
        tell(f"{kind}: {len(ones)} times{quick}")
    if IS_ALL and fed:
        assert ranked(fed, 99) <= within_s


def ranked(took: Sequence[Took], percent: int) -> float:
    """The seconds that so many of 100 took at most."""
    seconds = sorted(one.seconds for one in took)
    return seconds[max(0, -(-len(seconds) * percent // 100) - 1)]
