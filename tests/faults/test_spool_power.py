"""The power is cut at any call of a collector's spool that changes the disk: whatever part of what was not synced is
left, the next collector sends each batch that the spool had taken, whole and once."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.counts import often, tell
from tests.faults.spool_power import LIVES, cut_at

STEP = often(7, 1)
SCHEDULES = 200
LIVED_ON = often(2, SCHEDULES)
"""Of the kinds of schedules of a call so many at most."""
LAST_CALL = 1_000
"""More than a life has."""


@pytest.mark.parametrize("name", LIVES)
def test_whatever_a_power_cut_leaves_a_spool_sends_what_it_had_taken(tmp_path: Path, name: str) -> None:
    calls, lived_on, found = 0, 0, Counter[str]()
    for at in range(0, LAST_CALL, STEP):
        for is_done in (False, True):
            root = tmp_path / f"{at}-{is_done}"
            root.mkdir()
            came_of = cut_at(at, root, name, is_done=is_done, schedules=SCHEDULES, lived_on=LIVED_ON)
            if came_of is not None:
                calls, lived_on = calls + 1, lived_on + came_of[0]
                found += came_of[1]
            shutil.rmtree(root)
        if came_of is None:
            break
    tell(f"{calls} cuts with {SCHEDULES} schedules each, {lived_on} kinds lived on; unexplained {dict(found)}")
    assert calls * STEP > 2 * 45
    assert found == {}
