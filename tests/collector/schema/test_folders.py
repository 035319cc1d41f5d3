"""Folders that outlive a power cut, as the calls that make them tell."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.schema import make_folder


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that were synced, in order."""
    told: list[Path] = []
    sync = os.fsync

    def note(opened: int) -> None:
        told.append(Path(f"/proc/self/fd/{opened}").readlink())
        sync(opened)

    monkeypatch.setattr(os, "fsync", note)
    return told


def test_the_name_of_each_folder_that_is_made_is_synced(tmp_path: Path, synced: list[Path]) -> None:
    make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert synced[1:] == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]


def test_of_folders_that_are_there_the_last_name_is_synced(tmp_path: Path, synced: list[Path]) -> None:
    """Whoever made it may have been killed before it was."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    make_folder(tmp_path / "a" / "b" / "c")
    assert synced == [tmp_path / "a", tmp_path / "a" / "b"]
    synced.clear()
    make_folder(tmp_path / "a" / "b" / "c")
    assert synced == [tmp_path / "a" / "b"]


def refusing(at: int) -> Callable[[int], None]:
    """Refuse that call, counted from 0."""
    calls = iter(range(at + 1))

    def refuse(_: int) -> None:
        if next(calls) == at:
            raise OSError(5, "Input/output error")

    return refuse


def test_a_disk_that_refuses_what_is_new_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", refusing(1))
    with pytest.raises(OSError, match="Input/output"):
        make_folder(tmp_path / "a")


def test_a_folder_that_is_not_ours_need_not_be_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", refusing(0))
    make_folder(tmp_path)


def test_a_file_in_the_way_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    for path in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(FileExistsError):
            make_folder(path)
