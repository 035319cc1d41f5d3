"""What a disk may hold after the power was cut: of all that was not synced any part, in any order.

Contents that were not synced are kept, torn at any length, or empty; names that were made, renamed or removed since
their folder was last synced are as they are now or as they were, each file by itself. The invariant: what was synced
stays.
"""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Power:
    """Watches one folder without folders in it. `aside` is on the same file system, and empty."""

    def __init__(self, folder: Path, aside: Path) -> None:
        self._folder = folder
        self._aside = aside
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

    def cut(self, chance: random.Random) -> None:
        """Leave what may be left."""
        now = self._inodes()
        everything = now | self._names
        for inode in sorted(everything, key=everything.__getitem__):  # so that a seed always makes the same
            name = chance.choice((self._names.get(inode), now.get(inode)))
            kept = self._aside / str(inode)
            if inode not in self._names:
                os.link(self._folder / now[inode], kept)
            if inode in now:
                (self._folder / now[inode]).unlink()
            if name is not None:
                kept.replace(self._folder / name)
        for path in sorted(self._folder.iterdir()):
            if path.stat().st_ino not in self._synced:
                size = path.stat().st_size
                os.truncate(path, chance.choice((0, size, chance.randint(0, size))))

    def _note(self, opened: int) -> None:
        told = os.fstat(opened)
        if not stat.S_ISDIR(told.st_mode):
            self._synced.add(told.st_ino)
        elif told.st_ino == self._folder.stat().st_ino:
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
        return {path.stat().st_ino: path.name for path in self._folder.iterdir()}
