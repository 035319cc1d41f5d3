"""What a disk may hold after the power was cut: of all that was not synced any part, in any order.

Contents that were not synced are kept, torn at any length, or empty; names that were made, renamed or removed since
their folder was last synced are as they are now or as they were, each file by itself. Of a folder that was made and
whose own name was not synced since, nothing may be left. The invariant: what was synced stays.
"""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

WHOLE: Final = "whole"
LOST: Final = 0.5
"""How often nothing is left of a folder where that may be."""


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a file: so many of its first bytes."""

    inode: int
    content: Path
    """Where all of it is."""
    size: int
    extent: str
    """`whole`, `torn` or `empty`."""


Schedule = Mapping[str, Left]
"""What is left of a folder, by name."""


def kind_of(schedule: Schedule) -> frozenset[tuple[str, int, str]]:
    """What two schedules have in common that differ in where a file is torn alone: no reader takes any of it."""
    return frozenset((name, left.inode, left.extent) for name, left in schedule.items())


def leave(schedule: Schedule, folder: Path) -> None:
    """Make the folder that is left."""
    folder.mkdir()
    for name, left in schedule.items():
        (folder / name).write_bytes(left.content.read_bytes()[: left.size])


class Power:
    """Watches one folder without folders in it, which may be made only later. `aside` is on the same file system, and
    made here."""

    def __init__(self, folder: Path, aside: Path) -> None:
        self._folder = folder
        self._aside = aside
        self._unsynced = {there for there in (folder, *folder.parents) if not there.exists()}
        """Folders that are not there yet, or whose names may still be lost."""
        self._synced: set[int] = set()
        self._names: dict[int, str] = {}
        aside.mkdir()
        self._note_names()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note what is synced; the disk itself is not asked to, for it is not really cut off."""
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(os, "fsync", self._note)
            yield

    def cut(self, chance: random.Random) -> Schedule:
        """What may be left where the power goes now: any of what is possible, by chance. Nothing is changed."""
        if self._unsynced and chance.random() < LOST:
            return {}
        now = self._inodes()
        everything = now | self._names
        left: dict[str, Left] = {}
        for inode in sorted(everything, key=everything.__getitem__):  # so that a seed always makes the same
            name = chance.choice((self._names.get(inode), now.get(inode)))
            if name is not None:
                content = self._folder / now[inode] if inode in now else self._aside / str(inode)
                left[name] = self._torn(inode, content, chance)
        return left

    def _torn(self, inode: int, content: Path, chance: random.Random) -> Left:
        whole = content.stat().st_size
        size = whole if inode in self._synced else chance.choice((0, whole, chance.randint(0, whole)))
        return Left(inode, content, size, WHOLE if size == whole else "torn" if size else "empty")

    def _note(self, opened: int) -> None:
        told = os.fstat(opened)
        if not stat.S_ISDIR(told.st_mode):
            self._synced.add(told.st_ino)
            return
        self._unsynced = {
            path for path in self._unsynced if not path.exists() or path.parent.stat().st_ino != told.st_ino
        }
        if self._folder.exists() and told.st_ino == self._folder.stat().st_ino:
            self._note_names()

    def _note_names(self) -> None:
        for path in self._aside.iterdir():
            os.remove(path)  # noqa: PTH107 - no call of the pipeline's
        self._names = self._inodes()
        for inode, name in self._names.items():
            os.link(self._folder / name, self._aside / str(inode))
        if not self._synced:
            self._synced.update(self._names)

    def _inodes(self) -> dict[int, str]:
        return {path.stat().st_ino: path.name for path in self._folder.iterdir()} if self._folder.exists() else {}
