"""Whether a file is another than the one that was read."""

from __future__ import annotations

from pathlib import Path

Stamp = tuple[str, int, int, int]


def stamp_of(file: Path) -> Stamp:
    """What changes when a file does; Kubernetes swaps a link for a whole folder of them."""
    try:
        stat = file.stat()
    except OSError:
        return str(file), 0, 0, 0
    return str(file), stat.st_ino, stat.st_mtime_ns, stat.st_size
