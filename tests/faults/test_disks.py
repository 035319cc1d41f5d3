"""Disks that are full or read-only for a while: the process goes on, says so, and nothing is lost that was not counted.

The disks are small file systems in memory, which need root to mount.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from collector.metrics import Metrics
from collector.schema import FLOWS
from collector.sinks.spool import SpoolSink
from pipeline import engine
from tests.faults.ledger import Ledger, Lost, totals
from tests.faults.lives import Disk, live
from tests.faults.trials import Away, Moody, Well

pytestmark = pytest.mark.root

FULL_TURNS = 20
BATCHES = 40


class SmallDisk:
    """A mounted file system that can be made to refuse writes."""

    def __init__(self, path: Path, *, is_read_only: bool) -> None:
        """`is_read_only`: it refuses by that, else by being full."""
        self.path = path
        self._is_read_only = is_read_only

    def refuse(self) -> None:
        if self._is_read_only:
            subprocess.run(["mount", "-o", "remount,ro", self.path], check=True)
            return
        with (self.path / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
            while ballast.write(bytes(65_536)):
                pass

    def allow(self) -> None:
        if self._is_read_only:
            subprocess.run(["mount", "-o", "remount,rw", self.path], check=True)
        else:
            (self.path / "ballast").unlink()


@contextmanager
def small_disk(path: Path, *, is_read_only: bool = False) -> Iterator[SmallDisk]:
    path.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", path], check=True)
    try:
        yield SmallDisk(path, is_read_only=is_read_only)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


@pytest.mark.parametrize(("folder", "is_read_only"), [("snapshot", False), ("lake", False), ("lake", True)], ids=str)
def test_a_pipeline_goes_on_when_its_disk_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, is_read_only: bool
) -> None:
    """While the disk refuses, what is shown stays as it was, and that it refuses is shown."""
    monkeypatch.setattr(engine, "BACK_OFF_SECONDS", (0.01, 0.02))
    disk = Disk(tmp_path, Ledger(7), left=BATCHES)
    turns = 0
    failing: list[int] = []

    with small_disk(tmp_path / folder, is_read_only=is_read_only) as small:

        def turn() -> None:
            nonlocal turns
            turns += 1
            if turns == 10:
                small.refuse()
            elif turns == 10 + FULL_TURNS:
                failing.append(totals(disk.publication.text().decode())["flowatlas_pipeline_snapshot_failing"])
                small.allow()

        assert live(disk, on_turn=turn) == 0
        print(account := disk.account())
        failing.append(totals(disk.publication.text().decode())["flowatlas_pipeline_snapshot_failing"])
    assert account.unexplained == {}
    assert failing == [1, 0]


@pytest.mark.parametrize("is_read_only", [False, True], ids=["full", "read-only"])
@pytest.mark.parametrize("bus", [Well, Away])
def test_a_spool_without_room_sends_straight_on_or_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bus: type[Moody], is_read_only: bool
) -> None:
    monkeypatch.setattr("collector.sinks.spool._RETRY_S", (0.001, 0.002))
    disk, metrics = Disk(tmp_path, Ledger(8, nodes=("node-a",), restarts=0), left=0), Metrics()
    is_degraded: list[float] = []
    with small_disk(tmp_path / "spool", is_read_only=is_read_only) as small:
        for agent, kind in enumerate((bus, Well)):  # the second agent's bus is well, and its disk
            sink = SpoolSink(small.path, metrics, 1 << 20, partial(kind, disk))
            sink.start()
            for number in range(30):
                if (agent, number) == (0, 10):
                    assert bus is Away or sink.flush(60)  # what is sent later would make room
                    small.refuse()
                sink.send(disk.ledger.batch())
                if (agent, number) == (0, 19):
                    is_degraded.append(metrics.value("spool_is_degraded"))
                    small.allow()
            is_degraded.append(metrics.value("spool_is_degraded"))
            assert sink.flush(60 if kind is Well else 0.1) == (kind is Well)
            sink.stop()
        assert list(small.path.rglob("*.seg")) == []
    live(disk)
    rows, size = (
        int(metrics.value(f"lost_{what}_total", table=FLOWS.name, reason="spool_error")) for what in ("rows", "bytes")
    )
    print(account := disk.account(Lost(rows, size)))
    assert account.unexplained == {}
    assert is_degraded == [1, 0, 0]
    assert (rows > 0) == (bus is Away)
