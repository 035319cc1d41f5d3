"""`make soak`: one pipeline's disk through random troubles, one after the other, for half an hour or as told.

In each round batches are shipped, something happens at a random call that changes the disk, and another life ends in
order: everything that was shipped since the beginning is then held against the ledger. `python -m tests.faults.soak
SECONDS [SEED]`; the seed is printed, and the same one makes the same troubles.
"""

from __future__ import annotations

import gc
import random
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from pipeline import engine
from pipeline.errors import ConfigError, PermanentError
from tests.faults.ledger import Ledger
from tests.faults.lives import Death, Disk, Disturbed, Dying, disturbed, live

SECONDS: Final = 1800.0
LAST_CALL: Final = 120
"""About so many calls that change the disk are in a round."""
BATCHES: Final = (4, 30)
TOLD: Final = 50
"""A line is said after so many rounds."""
WARM: Final = 200
"""Rounds after which what a process holds is to be flat."""


def dies(disk: Disk, at: int, *, is_done: bool) -> None:
    """The life ends there."""
    with disturbed(Dying(at, is_done=is_done)), suppress(Death):
        live(disk, until=2)


def sleeps(disk: Disk, at: int, *, is_done: bool) -> None:
    """Another takes over meanwhile, where locks do not hold."""

    def succeed() -> None:
        disk.forget_locks()
        live(disk, until=3)

    with disturbed(Disturbed(at, is_done=is_done, disturb=succeed)), suppress(PermanentError):
        live(disk, until=2)


def is_refused(disk: Disk, at: int, *, is_done: bool) -> None:
    """The disk refuses once, or says so although it did what was asked."""

    def refuse() -> None:
        raise OSError(5, "input/output error")

    with disturbed(Disturbed(at, is_done=is_done, disturb=refuse)), suppress(ConfigError, PermanentError, OSError):
        live(disk, until=2)


def ends(disk: Disk, at: int, *, is_done: bool) -> None:
    """It ends in order."""
    live(disk, until=2)


TROUBLES: Final[tuple[Callable[..., None], ...]] = (dies, sleeps, is_refused, ends)


def main() -> int:
    """Soak. 1 where anything is unexplained."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() % 1_000_000
    print(f"seed {seed}, {seconds:.0f} s", flush=True)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(engine, "BACK_OFF_SECONDS", (0.01, 0.1))
        return soak(Disk(Path(folder), Ledger(seed, rows=200), left=0, flush_rows=2_000), random.Random(seed), seconds)


def soak(disk: Disk, chance: random.Random, seconds: float) -> int:
    """Rounds until the time is over, and a line for each fiftieth."""
    until = time.monotonic() + seconds
    made: Counter[str] = Counter()
    held: list[Held] = []
    while time.monotonic() < until:
        trouble, at, is_done = chance.choice(TROUBLES), chance.randrange(LAST_CALL), chance.random() < 0.5
        disk.left += chance.randint(*BATCHES)
        trouble(disk, at, is_done=is_done)
        live(disk)
        made[trouble.__name__] += 1
        account = disk.account()
        if account.unexplained:
            print(f"round {made.total()}: {trouble.__name__} at call {at}, done {is_done}\n{account}")
            return 1
        for segment in (disk.root / "bus").rglob("*.seg"):  # as a collector does with what is old
            segment.unlink()
        if made.total() % TOLD == 0:
            held.append(Held.now())
            print(f"{state(made, disk)}; {held[-1]}", flush=True)
    print(f"{state(made, disk)}; {Held.now()}\n{disk.account()}")
    return 0 if is_flat(held[WARM // TOLD - 1 :]) else 1


@dataclass(frozen=True, slots=True)
class Held:
    """What the process holds at an instant."""

    at_s: float
    mib: float
    files: int
    threads: int

    @classmethod
    def now(cls) -> Held:
        """Of this process. What nobody refers to is collected before, so that only what is kept is counted."""
        gc.collect()
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        files = len(list(Path("/proc/self/fd").iterdir()))
        return cls(time.monotonic(), resident / 2**20, files, threading.active_count())

    def __str__(self) -> str:
        return f"{self.mib:.0f} MiB, {self.files} files, {self.threads} threads"


def is_flat(held: Sequence[Held]) -> bool:
    """Whether neither files nor threads became more after the process was warm; the slope of its memory is said."""
    if len(held) < 2:
        return True
    hours = np.array([one.at_s for one in held]) / 3600
    slope = float(np.polyfit(hours, [one.mib for one in held], 1)[0])
    print(
        f"memory: {slope:+.1f} MiB/h over {60 * (hours[-1] - hours[0]):.0f} min, {held[0]} at first, {held[-1]} at last"
    )
    return held[-1].files <= held[0].files and held[-1].threads <= held[0].threads


def state(made: Counter[str], disk: Disk) -> str:
    """Where a soak is, and what it holds."""
    rounds = ", ".join(f"{count} {name}" for name, count in sorted(made.items()))
    return f"{rounds}; {disk.ledger.rows:,} flows"


if __name__ == "__main__":
    sys.exit(main())
