"""Every instant at which a process may die while it commits: its successor loses nothing and doubles nothing.

The history is a stand-in that keeps what Delta promises: a commit with its number is there whole or not at all.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.config import PipelineConfig
from pipeline.errors import PermanentError, TransientError
from pipeline.intake import Intake
from pipeline.kept import Frames
from pipeline.outputs.meters import Meters
from pipeline.snapshots.folder import SnapshotFolder
from pipeline.snapshots.taking import Snapshots
from pipeline.stages import Stages
from pipeline.state import ClusterState
from tests.pipeline.shipments import batch, flow, message
from tests.pipeline.small_cluster import small_cluster

STEPS = 4
SNAPSHOT = small_cluster()


class Death(BaseException):
    """The process ends here: nothing of ours catches it."""


class Dying:
    """Lets one of the calls that change the disk be the last, before or after it took effect."""

    def __init__(self, at: int, *, is_done: bool) -> None:
        self.calls = 0
        self._at = at
        self._is_done = is_done

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any, **more: Any) -> Any:
            number = self.calls
            self.calls += 1
            if number == self._at and not self._is_done:
                raise Death
            result = call(*arguments, **more)
            if number == self._at:
                raise Death
            return result

        return guarded


class History:
    """Rows by the number under which they were committed; it outlives processes."""

    def __init__(self) -> None:
        self.commits: dict[int, int] = {}

    def commit(self, version: int, rows: int) -> None:
        if self.commits and version <= max(self.commits):
            raise PermanentError("given before")
        self.commits[version] = rows

    def last(self) -> int:
        return max(self.commits, default=0)


class Held:
    """The rows that wait for the history, as the lake holds them."""

    def __init__(self) -> None:
        self.rows = 0

    def state(self) -> Frames:
        return {"rows": pl.DataFrame({"rows": [self.rows]})}

    def restore(self, frames: Frames) -> int:
        self.rows = frames["rows"].item()
        return 0


class HeldStages(Stages):
    """Stages that hold so many rows for the history."""

    held = Held()

    def kept(self) -> dict[str, Any]:
        return {**super().kept(), "lake": self.held}


class Process:
    """What one process has, from its start on."""

    def __init__(
        self, root: Path, history: History, folder: SnapshotFolder | None = None, writer: str = "group/0"
    ) -> None:
        config = PipelineConfig(bus="file:///unused", state=Path("unused"))
        self.meters = Meters()
        self.intake = Intake(self.meters)
        self.stages = HeldStages(config, lambda _: ClusterState(SNAPSHOT, {}), self.meters)
        self.stages.held = self.held = Held()
        self.history = history
        self.folder = folder or SnapshotFolder(root, "group")
        self.snapshots = Snapshots(self.folder, self.stages, self.intake, self.meters, writer)
        self.snapshots.take_up(history.last())

    @property
    def step(self) -> int:
        """How far it has come on the bus."""
        return int((self.snapshots.places or {"t": {"0": 0}})["t"]["0"])

    def apply(self, step: int, write: Callable[..., None]) -> None:
        """One batch, then a commit, with the history at every other step."""
        for chunk in self.intake.take([shipped(step)]):
            self.stages.apply(chunk)
            self.held.rows += sum(rows.frame.height for rows in chunk)
        self.stages.samples()

        def flush(version: int) -> None:
            write(version, self.held.rows)
            self.held.rows = 0

        self.snapshots.take({"t": {"0": step + 1}}, flush if step % 2 else None)

    def counted(self) -> int:
        samples = {one.metric.name: one for one in self.stages.samples()}
        return int(samples["flowatlas_connections_total"].values.sum())


def shipped(step: int) -> Any:
    rows = [flow("10.0.1.5", "10.0.2.7", 5432, flow_id=number) for number in range(step + 1)]
    return message(batch("node-a", step, rows))


def expected(steps: int) -> int:
    return sum(step + 1 for step in range(steps))


def run(root: Path, history: History, monkeypatch: pytest.MonkeyPatch, dying: Dying) -> None:
    """A process from where the last one was to the end, unless it dies."""
    with monkeypatch.context() as patched:
        write = dying.around(history.commit)
        for name in ("rename", "unlink"):
            patched.setattr(Path, name, dying.around(getattr(Path, name)))
        for name in ("fsync", "open"):
            patched.setattr(os, name, dying.around(getattr(os, name)))
        folder = SnapshotFolder(root, "group")
        try:
            process = Process(root, history, folder)
            for step in range(process.step, STEPS):
                process.apply(step, write)
        except Death:
            pass
        finally:
            folder.close()


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
def test_no_instant_of_death_loses_or_doubles_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_done: bool
) -> None:
    deaths = 0
    for at in range(1_000):
        root, history = tmp_path / str(at), History()
        dying = Dying(at, is_done=is_done)
        run(root, history, monkeypatch, dying)
        last = Process(root, history)
        for step in range(last.step, STEPS):
            last.apply(step, history.commit)
        assert last.counted() == expected(STEPS), at
        assert sum(history.commits.values()) + last.held.rows == expected(STEPS), at
        last.folder.close()
        if dying.calls <= at:
            break
        deaths += 1
    assert deaths > 20


def test_two_deaths_in_a_row_do_not_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for at in range(0, 48, 5):
        root, history = tmp_path / str(at), History()
        for second in (at, at // 2):
            run(root, history, monkeypatch, Dying(second, is_done=bool(at % 2)))
        last = Process(root, history)
        for step in range(last.step, STEPS):
            last.apply(step, history.commit)
        assert (last.counted(), sum(history.commits.values()) + last.held.rows) == (expected(STEPS), expected(STEPS))
        last.folder.close()


def test_a_history_that_refuses_is_asked_again_under_another_number(tmp_path: Path) -> None:
    history = History()
    process = Process(tmp_path, history)
    asked: list[int] = []

    def refuse(version: int, rows: int) -> None:
        asked.append(version)
        raise TransientError("away")

    process.apply(0, history.commit)
    with pytest.raises(TransientError):
        process.apply(1, refuse)
    assert process.step == 1
    process.snapshots.take({"t": {"0": 2}}, lambda version: history.commit(version, process.held.rows))
    assert max(history.commits) > asked[0]
    assert process.step == 2
    process.folder.close()


def test_a_history_that_took_what_it_refused_counts(tmp_path: Path) -> None:
    """The answer got lost, and the process with it."""
    history = History()
    process = Process(tmp_path, history)
    process.apply(0, history.commit)

    def take_and_fail(version: int, rows: int) -> None:
        history.commit(version, rows)
        raise TransientError("nobody said so")

    with pytest.raises(TransientError):
        process.apply(1, take_and_fail)
    process.folder.close()
    after = Process(tmp_path, history)
    assert (after.step, after.counted(), after.held.rows) == (2, 3, 0)
    after.folder.close()


def test_whoever_is_told_of_a_snapshot_is_told_after_its_name_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, told = Process(tmp_path, History()), list[str]()
    monkeypatch.setattr("pipeline.snapshots.folder.sync_folder", lambda _: told.append("synced"))
    for step, others in enumerate(({}, {"agree": "group"}, {"write_history": "history"})):
        told.clear()
        for chunk in process.intake.take([shipped(step)]):
            process.stages.apply(chunk)
        calls: dict[str, Any] = {name: lambda _, who=who: told.append(who) for name, who in others.items()}
        process.snapshots.take({"t": {"0": step + 1}}, **calls)
        before = [event for who in others.values() for event in ("synced", who)]
        assert told == [*before, "synced"]
    process.folder.close()


def test_an_older_snapshot_writes_no_row_again_that_the_history_has_by_now(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A copy that was put back: what it held for the history was written since. What comes again cannot be known."""
    history = History()
    process = Process(tmp_path / "now", history)
    process.apply(0, history.commit)
    shutil.copytree(tmp_path / "now", tmp_path / "copy")
    process.apply(1, history.commit)
    process.folder.close()
    with caplog.at_level("WARNING"):
        after = Process(tmp_path / "copy", history)
    assert (after.step, after.counted(), after.held.rows) == (1, 1, 0)
    assert "older one" in caplog.text
    after.apply(1, history.commit)
    assert (after.counted(), list(history.commits.values())) == (3, [3, 2])
    after.folder.close()


def test_a_history_that_is_not_what_it_was_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An older copy of it, or another place; and where it is as it was nothing is said, also after steps without it."""
    history = History()
    process = Process(tmp_path, history)
    for step in range(3):
        process.apply(step, history.commit)
    process.folder.close()
    with caplog.at_level("WARNING"):
        Process(tmp_path, history).folder.close()
        Process(tmp_path, History(), writer="group/of-another-name").folder.close()
        assert caplog.text == ""
        Process(tmp_path, History()).folder.close()
    assert "the history is an older one, or another" in caplog.text


def test_nothing_is_written_where_the_history_was_written_and_nothing_came_since(tmp_path: Path) -> None:
    history = History()
    process = Process(tmp_path, history)
    for step in range(2):
        process.apply(step, history.commit)
    before = sorted(path.name for path in tmp_path.rglob("*.snapshot"))
    process.snapshots.take({"t": {"0": 2}})
    assert sorted(path.name for path in tmp_path.rglob("*.snapshot")) == before
    process.folder.close()
