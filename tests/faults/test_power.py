"""The power is cut at any call of a pipeline that changes the disk: whatever part of what was not synced is left, the
next life tells every flow once.

A life up to its last call is lived once. Of what may be left then as many schedules are drawn as are asked for, and of
those that differ in nothing but where a file is torn one is lived on: that no torn end goes unseen has a test of its
own (tests/pipeline/snapshots/test_layout.py).
"""

from __future__ import annotations

import copy
import os
import random
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.outputs.publication import Publication
from tests.faults.counts import often, tell
from tests.faults.ledger import Ledger
from tests.faults.lives import GROUP, Death, Disk, Dying, disturbed, live
from tests.faults.power import Power, Schedule, kind_of, leave

STEP = often(24, 1)
SCHEDULES = 200
LIVED_ON = often(2, SCHEDULES)
"""Of the kinds of schedules of a call so many at most."""
LAST_CALL = 1_000
"""More than a life has."""


def successor_of(disk: Disk, root: Path, schedule: Schedule) -> Disk:
    """A disk like another on which the power was cut, with what that left of its snapshots."""
    shutil.copytree(disk.root, root, ignore=shutil.ignore_patterns("snapshot"))
    (root / "snapshot" / GROUP).mkdir(parents=True)
    leave(schedule, root / "snapshot" / GROUP / "0")
    own = {name: copy.deepcopy(getattr(disk, name)) for name in ("ledger", "chance", "most", "fallen")}
    return replace(disk, root=root, publication=Publication(), **own)


def cut_at(at: int, root: Path, *, is_done: bool) -> tuple[int, list[str]] | None:
    """How many schedules of one call were lived on, and what was unexplained; None where a life has no such call."""
    disk = Disk(root / "disk", Ledger(at), left=9)
    disk.root.mkdir()
    power = Power(disk.root / "snapshot" / GROUP / "0", root / "aside")
    dying = Dying(at, is_done=is_done)
    with power.watching(), disturbed(dying), suppress(Death):
        live(disk, until=3)
    if not dying.is_dead:
        return None
    drawn = (power.cut(random.Random(1_000 * at + number)) for number in range(SCHEDULES))
    kinds = {kind_of(schedule): schedule for schedule in drawn}
    found: list[str] = []
    for number, schedule in enumerate(list(kinds.values())[:LIVED_ON]):
        after = successor_of(disk, root / f"{number}", schedule)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(os, "fsync", lambda _: None)
            assert live(after) == 0
        if (account := after.account()).unexplained:
            found.append(f"cut at call {at}, done {is_done}, of {sorted(kind_of(schedule))}\n{account}")
        shutil.rmtree(after.root)
    return min(len(kinds), LIVED_ON), found


def test_whatever_a_power_cut_leaves_every_flow_is_told_once(tmp_path: Path) -> None:
    calls, lived_on = 0, 0
    found: list[str] = []
    for at in range(0, LAST_CALL, STEP):
        for is_done in (False, True):
            root = tmp_path / f"{at}-{is_done}"
            root.mkdir()
            came_of = cut_at(at, root, is_done=is_done)
            if came_of is not None:
                calls, lived_on, found = calls + 1, lived_on + came_of[0], found + came_of[1]
            shutil.rmtree(root)
        if came_of is None:
            break
    tell(f"{calls} cuts with {SCHEDULES} schedules each, {lived_on} kinds lived on; {len(found)} unexplained")
    assert calls * STEP > 2 * 60
    assert found == []
