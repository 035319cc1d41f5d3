"""Random schedules of members and shares: whatever comes together, each flow is counted and in the history once.

`python -m tests.faults.schedules FIRST LAST` makes others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import TransientError
from pipeline.snapshots.folder import SnapshotFolder
from tests.faults.counts import often, tell
from tests.faults.modelled import modelled
from tests.faults.schedules import KINDS, account, come_back, run
from tests.faults.worlds import World

SEEDS = often(12, 1_000)


@pytest.fixture(autouse=True)
def model() -> Iterator[None]:
    with modelled():
        yield


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_comes_together_each_flow_is_told_once(tmp_path: Path, kind: str) -> None:
    did: Counter[str] = Counter()
    flows = 0
    for seed in range(SEEDS):
        world = run(tmp_path, seed, KINDS[kind])
        assert account(world) == {}, f"seed {seed}: {world.story}"
        did += world.did
        flows += world.made
    tell(f"{SEEDS} schedules of {kind}, {flows} flows: {dict(sorted(did.items()))}")


def test_where_the_history_is_written_and_its_snapshot_refused_what_is_shown_is_in_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, seed=1)
    world.has_history, world.flush_rows = True, 8
    refused: list[int] = []
    promote = SnapshotFolder.promote

    def refuse(folder: SnapshotFolder) -> None:
        if world.table.settles and not refused:
            refused.append(1)
            raise TransientError("snapshot: input/output error")
        promote(folder)

    def ship(batches: int) -> None:
        for _ in range(batches):
            world.collectors[0].ship()
        world.collectors[0].flush()
        world.until(lambda: len(member.shown) == world.made)

    monkeypatch.setattr(SnapshotFolder, "promote", refuse)
    member = world.member("m0")
    world.begin(member, is_well=True)
    while not refused:
        ship(4)
    ship(1)
    world.kill(member)
    come_back(world, {member: None})
    found = account(world)
    world.close()
    assert found == {}
