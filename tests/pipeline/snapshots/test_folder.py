"""A lineage of snapshots: which one counts after whatever came between, and who may write to it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from pipeline.errors import ConfigError, PermanentError, TransientError
from pipeline.snapshots import layout
from pipeline.snapshots.folder import SnapshotFolder, member_of
from pipeline.snapshots.layout import Content


def content(number: int) -> Content:
    return Content({"number": number}, {"frame": pl.DataFrame({"number": [number]})})


def opened(root: Path) -> SnapshotFolder:
    folder = SnapshotFolder(root, "group", 3)
    folder.open()
    return folder


def taken(root: Path, in_history: int | None = None) -> int | None:
    """The number of what a new process takes up."""
    folder = opened(root)
    found = folder.load(in_history)
    folder.close()
    return None if found is None else found.values["number"]


def write(folder: SnapshotFolder, number: int) -> int:
    version = folder.prepare(content(number))
    folder.promote()
    return version


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[SnapshotFolder]:
    it = opened(tmp_path)
    it.load()
    yield it
    it.close()


def files(root: Path, kind: str) -> list[Path]:
    return sorted((root / "group" / "3").glob(f"*.{kind}"))


def test_the_last_promoted_one_counts_and_two_are_kept(folder: SnapshotFolder, tmp_path: Path) -> None:
    for number in range(5):
        write(folder, number)
    folder.close()
    assert len(files(tmp_path, "snapshot")) == 2
    assert taken(tmp_path) == 4


def test_one_that_was_only_prepared_does_not_count(folder: SnapshotFolder, tmp_path: Path) -> None:
    write(folder, 1)
    folder.prepare(content(2))
    folder.close()
    assert taken(tmp_path) == 1
    assert files(tmp_path, "prepared") == []


def test_one_that_the_history_has_counts_though_it_was_only_prepared(folder: SnapshotFolder, tmp_path: Path) -> None:
    write(folder, 1)
    version = folder.prepare(content(2))
    folder.close()
    assert taken(tmp_path, version) == 2


def test_of_several_prepared_ones_the_one_that_the_history_has_counts(folder: SnapshotFolder, tmp_path: Path) -> None:
    """The history took the first though it could not say so, and was asked again with the second."""
    first = folder.prepare(content(1))
    folder.prepare(content(2))
    folder.close()
    assert taken(tmp_path, first) == 1


def test_versions_grow_over_restarts_and_beyond_what_the_history_has(folder: SnapshotFolder, tmp_path: Path) -> None:
    first = write(folder, 1)
    folder.close()
    later = opened(tmp_path)
    later.load(first)
    second = write(later, 2)
    later.close()
    assert second > first
    elsewhere = opened(tmp_path / "lost")
    elsewhere.load(second)
    assert write(elsewhere, 3) > second
    elsewhere.close()


@pytest.mark.parametrize("damage", ["flip", "truncate", "zero", "empty"])
def test_where_the_last_is_damaged_the_one_before_counts(folder: SnapshotFolder, tmp_path: Path, damage: str) -> None:
    write(folder, 1)
    write(folder, 2)
    folder.close()
    path = files(tmp_path, "snapshot")[-1]
    sound = path.read_bytes()
    middle = len(sound) // 2
    path.write_bytes(
        {
            "flip": sound[:middle] + bytes([sound[middle] ^ 4]) + sound[middle + 1 :],
            "truncate": sound[:middle],
            "zero": sound[:middle] + bytes(len(sound) - middle),
            "empty": b"",
        }[damage]
    )
    after = opened(tmp_path)
    found = after.load()
    assert found is not None
    assert (found.values["number"], after.refused) == (1, 1)
    write(after, 3)
    after.close()
    assert taken(tmp_path) == 3


def test_a_second_process_waits_while_the_first_has_the_folder(folder: SnapshotFolder, tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="another process"):
        opened(tmp_path)
    folder.close()
    opened(tmp_path).close()


def test_a_process_that_was_thought_dead_commits_nothing_any_more(folder: SnapshotFolder, tmp_path: Path) -> None:
    """Where locks do not hold, as on some shared file systems: its successor's number refuses it."""
    write(folder, 1)
    folder.prepare(content(2))
    (tmp_path / "group" / "3" / "lock").unlink()
    successor = opened(tmp_path)
    found = successor.load()
    assert found is not None
    assert found.values["number"] == 1
    with pytest.raises(PermanentError, match="taken over"):
        folder.promote()
    with pytest.raises(PermanentError, match="taken over"):
        folder.prepare(content(3))
    write(successor, 4)
    successor.close()
    assert taken(tmp_path) == 4


def test_what_a_process_renamed_in_its_last_moment_does_not_hide_its_successors(
    folder: SnapshotFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked for a successor before there was one, and stopped before the rename."""
    for number in (1, 2, 3):
        write(folder, number)
    (tmp_path / "group" / "3" / "lock").unlink()
    successor = opened(tmp_path)
    successor.load()
    write(successor, 30)
    monkeypatch.setattr(folder, "_stand", lambda: None)
    write(folder, 4)
    successor.close()
    assert taken(tmp_path) == 30


@pytest.mark.parametrize("is_promoted", [False, True])
def test_who_sleeps_before_it_takes_up_and_wakes_beside_its_successor_touches_nothing_and_ends(
    folder: SnapshotFolder, tmp_path: Path, *, is_promoted: bool
) -> None:
    """Where locks do not hold. What is prepared is its successor's, who is about to let it count."""
    write(folder, 1)
    folder.close()
    zombie = opened(tmp_path)
    (tmp_path / "group" / "3" / "lock").unlink()
    successor = opened(tmp_path)
    successor.load()
    successor.prepare(content(2))
    if is_promoted:
        successor.promote()
    with pytest.raises(PermanentError, match="taken over"):
        zombie.load()
    if not is_promoted:
        successor.promote()
    successor.close()
    zombie.close()
    assert taken(tmp_path) == 2


def test_who_sleeps_while_it_takes_up_goes_on_with_nothing_of_its_successors(
    folder: SnapshotFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, 1)
    folder.prepare(content(2))
    folder.close()
    zombie = opened(tmp_path)
    unlink = Path.unlink

    def sleep(path: Path, missing_ok: bool = False) -> None:
        monkeypatch.undo()
        (tmp_path / "group" / "3" / "lock").unlink()
        successor = opened(tmp_path)
        successor.load()
        for number in (3, 4, 5):
            write(successor, number)
        successor.prepare(content(6))
        successor.close()
        unlink(path, missing_ok=True)

    monkeypatch.setattr(Path, "unlink", sleep)
    with pytest.raises(PermanentError, match="taken over"):
        zombie.load()
    zombie.close()
    assert [path.name[11:] for path in files(tmp_path, "prepared")] == ["0000000004.prepared"]
    assert taken(tmp_path) == 5


def test_a_disk_that_refuses_costs_nothing_that_counted(
    folder: SnapshotFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, 1)

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.snapshots.folder.os.fsync", refuse)
    with pytest.raises(TransientError, match="No space"):
        folder.prepare(content(2))
    monkeypatch.undo()
    assert files(tmp_path, "prepared") == []
    write(folder, 3)
    folder.close()
    assert taken(tmp_path) == 3


@pytest.mark.parametrize("is_awaited", [False, True])
def test_the_folder_is_synced_before_others_are_told_of_it_and_before_it_counts(
    folder: SnapshotFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_awaited: bool
) -> None:
    synced: list[list[str]] = []
    monkeypatch.setattr(
        "pipeline.snapshots.folder.sync_folder",
        lambda path: synced.append(
            sorted(it.suffix for it in path.iterdir() if it.suffix in {".prepared", ".snapshot"})
        ),
    )
    folder.prepare(content(1), is_awaited=is_awaited)
    assert synced == ([[".prepared"]] if is_awaited else [])
    folder.promote()
    assert synced[-1] == [".snapshot"]
    assert len(synced) == 1 + is_awaited


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EMFILE])
def test_what_there_is_no_memory_to_read_counts_once_there_is(
    folder: SnapshotFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """And whoever could not read it tries again as the same writer."""
    write(folder, 1)
    write(folder, 2)
    folder.close()
    successor = opened(tmp_path)

    def refuse(_: Path) -> bytes:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as short:
        short.setattr(Path, "read_bytes", refuse)
        with pytest.raises(TransientError, match=os.strerror(number)):
            successor.load()
    successor.open()
    found = successor.load()
    assert found is not None
    assert (found.values["number"], successor.refused) == (2, 0)
    successor.close()


def test_a_snapshot_of_a_later_version_is_left_alone(
    folder: SnapshotFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "VERSION", layout.VERSION + 1)
    write(folder, 1)
    folder.close()
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="version 2"):
        taken(tmp_path)
    assert len(files(tmp_path, "snapshot")) == 1


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"pipeline\.snapshot: .*file"):
        opened(tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208 - names are all that is asked


def test_a_member_keeps_its_name(tmp_path: Path) -> None:
    name = member_of(tmp_path, "group")
    assert name == member_of(tmp_path, "group") != member_of(tmp_path, "other")
    assert (tmp_path / "group" / "0" / "member").read_text() == name


def test_a_members_name_is_on_disk_before_anybody_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under another name, what the history has of a member would be nobody's."""
    calls: list[str] = []
    for name in ("fsync", "link"):
        call = getattr(os, name)

        def noted(what: object, *more: object, call: Callable[..., None] = call) -> None:
            calls.append(Path(f"/proc/self/fd/{what}").readlink().name if isinstance(what, int) else "named")
            call(what, *more)

        monkeypatch.setattr(os, name, noted)
    member_of(tmp_path, "group")
    assert calls[-4:] == [f"member.{os.getpid()}.part", "0", "named", "0"]
