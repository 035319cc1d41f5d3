"""One pipeline's disk through random troubles, one after the other: a part of `make soak`, in a process of its own.

In each round batches are shipped, something happens at a random call that changes the disk, and another life ends in
order: everything that was shipped since the beginning is then held against the ledger, and the history is cared for
now and then. `python -m tests.faults.rounds SECONDS SEED`; the same seed makes the same troubles.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from pipeline import engine
from pipeline.errors import ConfigError, PermanentError, TransientError
from pipeline.lake.maintenance import maintain
from pipeline.lake.store import Store
from tests.faults.ledger import Ledger
from tests.faults.lives import Death, Disk, Disturbed, Dying, disturbed, live
from tests.pipeline.shipments import NOW, SECOND

LAST_CALL: Final = 120
"""About so many calls that change the disk are in a round."""
BATCHES: Final = (4, 30)
TOLD: Final = 50
"""A line is said, and the history cared for, after so many rounds."""
LATER: Final = datetime.fromtimestamp(NOW // SECOND, UTC) + timedelta(hours=2)
"""The hour of all flows is over by then."""


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
    """The disk refuses once, or says so although it did what was asked. Who cannot begin, or end, is started again."""

    def refuse() -> None:
        raise OSError(5, "input/output error")

    trouble = Disturbed(at, is_done=is_done, disturb=refuse)
    with disturbed(trouble), suppress(ConfigError, PermanentError, TransientError, OSError):
        live(disk, until=2)


def ends(disk: Disk, at: int, *, is_done: bool) -> None:
    """It ends in order."""
    live(disk, until=2)


TROUBLES: Final[tuple[Callable[..., None], ...]] = (dies, sleeps, is_refused, ends)


def main() -> int:
    """Go through troubles. 1 where anything is unexplained."""
    seconds, seed = float(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(engine, "BACK_OFF_SECONDS", (0.01, 0.1))
        disk = Disk(Path(folder), Ledger(seed, rows=200), left=0, flush_rows=2_000)
        return rounds(disk, random.Random(seed), seconds)


def rounds(disk: Disk, chance: random.Random, seconds: float) -> int:
    """Rounds until the time is over, and a line for each fiftieth."""
    until = time.monotonic() + seconds
    made: Counter[str] = Counter()
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
        disk.ledger.settle()
        for segment in (disk.root / "bus").rglob("*.seg"):  # as a collector does with what is old
            segment.unlink()
        if made.total() % TOLD == 0:
            maintain(Store(str(disk.lake)), LATER, readers_hours=0)  # nobody reads
            print(state(made, disk), flush=True)
    print(f"{state(made, disk)}\n{disk.account()}", flush=True)
    return 0


def state(made: Counter[str], disk: Disk) -> str:
    """Where it is."""
    kinds = ", ".join(f"{count} {name}" for name, count in sorted(made.items()))
    return f"{kinds}; {disk.ledger.rows:,} flows"


if __name__ == "__main__":
    sys.exit(main())
