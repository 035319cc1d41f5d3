"""The power is cut at any call of a pipeline that changes the disk: whatever part of what was not synced is left, the
next life tells every flow once."""

from __future__ import annotations

import random
import shutil
from contextlib import suppress
from pathlib import Path

from tests.faults.counts import often, tell
from tests.faults.ledger import Ledger
from tests.faults.lives import GROUP, Death, Disk, Dying, disturbed, live
from tests.faults.power import Power

STEP = often(24, 1)
SCHEDULES = often(2, 10)
LAST_CALL = 96


def cuts(root: Path, step: int) -> tuple[int, list[str]]:
    """How often the power was cut, and what was unexplained after it."""
    done, found = 0, []
    for at in range(0, LAST_CALL, step):
        for schedule in range(SCHEDULES):
            chance = random.Random(1_000 * at + schedule)
            disk = Disk(root / f"{at}-{schedule}", Ledger(at), left=9)
            folder = disk.root / "snapshot" / GROUP / "0"
            folder.mkdir(parents=True)
            power = Power(folder, disk.root / "aside")
            dying = Dying(at, is_done=chance.random() < 0.5)
            with power.watching(), disturbed(dying), suppress(Death):
                live(disk, until=3)
            if dying.is_dead:
                done += 1
                power.cut(chance)
            with power.watching():
                assert live(disk) == 0
            account = disk.account()
            if account.unexplained:
                found.append(f"cut at call {at}, schedule {schedule}\n{account}")
            shutil.rmtree(disk.root)
    tell(f"{done} cuts, {len(found)} unexplained; the last:\n{account}")
    return done, found


def test_whatever_a_power_cut_leaves_every_flow_is_told_once(tmp_path: Path) -> None:
    done, found = cuts(tmp_path, STEP)
    assert done >= LAST_CALL // STEP * SCHEDULES * 3 // 4
    assert found == []
