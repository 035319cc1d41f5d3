"""Small files that outlive a power cut."""

from __future__ import annotations

import os
from pathlib import Path

from collector.schema import sync_folder


def write(path: Path, content: bytes) -> None:
    """Let a file appear, or take the place of the one there, whole and durable. Raises OSError where that fails."""
    temporary = path.with_name(f"{path.name}.part")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)
