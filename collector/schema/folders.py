"""Folders whose names outlive a power cut: of segments, and of all else that must not be lost with its folder.

What is in a folder is synced by whoever puts it there. The invariant: once a folder is made, a power cut leaves it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def make_folder(path: Path) -> None:
    """Make a folder that may be there, and those above it that are missing. Raises OSError where the disk refuses."""
    missing = []
    for there in (path, *path.parents):
        if there.is_dir():
            break
        missing.append(there)
    with suppress(OSError):  # whoever made it may have been killed before it was synced, or was somebody else
        sync_folder(there.parent)
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(path: Path) -> None:
    """Make what was made or renamed in a folder outlive a power cut. Raises OSError where the disk refuses."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
