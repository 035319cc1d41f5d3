"""What parts of the pipeline remember, as frames that outlive the process: the seam between them and snapshots.

It knows no file. The invariant: what `restore` is given is what `state` gave, in this version or another: it takes up
what still fits and says how many rows did not; and nothing in a frame means something in one process only (ids do).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import polars as pl

Frames = Mapping[str, pl.DataFrame]
"""Frames by name. One that is the same object as before has not changed: it need not be encoded again."""


class Kept(Protocol):
    """A part that remembers something."""

    def state(self) -> Frames:
        """Everything that is remembered; the frames are not changed later."""

    def restore(self, frames: Frames) -> int:
        """Take up what `state` gave, before anything else was taken in. How many rows found no place as they were:
        their labels or columns have changed since."""


class Keeper(Protocol):
    """A part made of others that remember something."""

    def kept(self) -> Mapping[str, Kept]:
        """The parts by name, in the order in which they are restored."""


def nested(name: str, keeper: Keeper) -> dict[str, Kept]:
    """The parts of `keeper`, under its name."""
    return {f"{name}/{part}": kept for part, kept in keeper.kept().items()}


def frames_of(parts: Mapping[str, Kept]) -> dict[str, pl.DataFrame]:
    """The frames of all parts, each as `part:frame`."""
    return {f"{name}:{frame}": content for name, kept in parts.items() for frame, content in kept.state().items()}


def restored(parts: Mapping[str, Kept], frames: Frames) -> dict[str, int]:
    """Give every part its frames back. By part, the rows that found no place; those of parts that are gone too."""
    by_part: dict[str, dict[str, pl.DataFrame]] = {}
    for full, content in frames.items():
        name, _, frame = full.partition(":")
        by_part.setdefault(name, {})[frame] = content
    misfits = {name: sum(frame.height for frame in by_part[name].values()) for name in by_part.keys() - parts.keys()}
    for name, kept in parts.items():
        if name in by_part:
            misfits[name] = kept.restore(by_part[name])
    return {name: rows for name, rows in misfits.items() if rows}


def fits(frames: Frames, **schemas: pl.Schema) -> bool:
    """Whether there is a frame of each name with exactly these columns."""
    return all(name in frames and frames[name].schema == schema for name, schema in schemas.items())


def rows_of(frames: Frames) -> int:
    """All rows of all frames."""
    return sum(frame.height for frame in frames.values())
