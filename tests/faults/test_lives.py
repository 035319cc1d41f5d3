"""A pipeline that dies, or sleeps while another takes over, at any call that changes the disk: metrics and history have
every flow once. Snapshots and Delta tables are real.

FLOWATLAS_FAULTS=all takes every call; without, every few. Each seed is the number of the call.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import settling
from pipeline.errors import PermanentError
from pipeline.outputs.lake import Lake
from pipeline.query import scan_flows
from tests.faults.counts import often
from tests.faults.ledger import Ledger
from tests.faults.lives import GROUP, Death, Disk, Disturbed, Dying, disturbed, live

BATCHES = 9
STEP = often(9, 1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncs are counted as calls, and left out: they show when the power goes, and processes alone die here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(scope="module")
def virgin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk on which a pipeline has lived, with empty tables."""
    root = tmp_path_factory.mktemp("virgin")
    assert live(Disk(root, Ledger(0), left=0)) == 0
    return root


def disks(virgin: Path, root: Path, first: int) -> Iterator[tuple[int, Disk]]:
    """A call's number and a disk for it, for one number after the other."""
    for at in range(first, 10_000, STEP):
        shutil.copytree(virgin, root / str(at))
        yield at, Disk(root / str(at), Ledger(at), BATCHES)
        shutil.rmtree(root / str(at))


def test_lives_without_faults_tell_every_flow_once(tmp_path: Path) -> None:
    disk = Disk(tmp_path, Ledger(1), BATCHES)
    assert live(disk, until=BATCHES // 2) == 0
    assert live(disk) == 0
    print(account := disk.account())
    assert account.unexplained == {}
    assert disk.ledger.again > 0


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
def test_who_dies_at_any_call_has_a_successor_that_loses_and_doubles_nothing(
    virgin: Path, tmp_path: Path, is_done: bool
) -> None:
    deaths = 0
    for at, disk in disks(virgin, tmp_path, int(is_done)):
        dying = Dying(at, is_done=is_done)
        with disturbed(dying):
            try:
                live(disk, until=3)
            except Death:
                deaths += 1
        assert live(disk) == 0
        account = disk.account()
        assert account.unexplained == {}, f"died at call {at}\n{account}"
        if not dying.is_dead:
            break
    print(f"{deaths} deaths; the last:\n{account}")
    assert deaths * STEP > 60


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
def test_who_wakes_after_its_successor_began_commits_nothing_any_more(
    virgin: Path, tmp_path: Path, is_done: bool
) -> None:
    """Where locks do not hold, as on some shared file systems. What it commits at last, nobody loses or doubles."""
    woken = refused = 0
    for at, disk in disks(virgin, tmp_path, 2 + int(is_done)):

        def succeed(disk: Disk = disk) -> None:
            nonlocal woken
            woken += 1
            disk.forget_locks()
            assert live(disk, until=4) == 0

        zombie = Disturbed(at, is_done=is_done, disturb=succeed)
        with disturbed(zombie):
            try:
                live(disk, until=2)
            except PermanentError:
                refused += 1
        assert live(disk) == 0
        account = disk.account()
        assert account.unexplained == {}, f"slept at call {at}\n{account}"
        if zombie.calls <= at:
            break
    print(f"{woken} zombies, {refused} refused; the last:\n{account}")
    assert woken * STEP > 60


@pytest.mark.parametrize("hint_s", [0.0, 3600.0], ids=["told", "not told"])
def test_where_the_snapshots_are_lost_the_history_goes_on_where_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hint_s: float
) -> None:
    """Whatever the bus was told of how far they were: every flow is in it once. Counters begin at zero."""
    monkeypatch.setattr(settling, "HINT_SECONDS", hint_s)
    disk = Disk(tmp_path, Ledger(17), left=40, again=0.0)

    def die() -> None:
        if disk.left == 17:  # with rows that wait for the history
            raise Death

    with pytest.raises(Death):
        live(disk, on_turn=die)
    assert scan_flows(disk.lake).collect().height > 0
    shutil.rmtree(tmp_path / "snapshot")
    disk.forget_locks()
    assert live(disk) == 0
    print(account := disk.account())
    assert {what: count for what, count in account.unexplained.items() if "history" in what} == {}
    assert {what: account.identities[what] for what in ("missing", "doubled")} == {"missing": 0, "doubled": 0}
    assert account.unexplained["rows"] > 0


def test_a_history_of_another_bus_stops_nobody_whose_snapshots_are_gone(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake", app=f"{GROUP}/0")
    lake.start()
    lake.commit(1, {"flowatlas.flows.v1": {"0": 17}})
    disk = Disk(tmp_path, Ledger(18), left=5)
    assert live(disk) == 0
    assert disk.account().unexplained == {}


class _GaveUpError(Exception):
    """The second has waited long enough."""


def test_who_comes_while_another_is_there_waits_and_shuts_nobody_out(tmp_path: Path) -> None:
    disk = Disk(tmp_path, Ledger(16), left=30)
    came: list[int] = []

    def wait_in_vain() -> None:
        came[-1] += 1
        if came[-1] > 2:
            raise _GaveUpError

    def turn() -> None:
        if disk.left == 15 and not came:
            came.append(0)
            with pytest.raises(_GaveUpError):
                live(Disk(tmp_path, Ledger(1), left=0), on_turn=wait_in_vain)

    assert live(disk, on_turn=turn) == 0
    assert came == [3]
    assert disk.account().unexplained == {}
