"""How far event time has come, told by the events alone.

The invariant: it never goes back, and a node whose clock is ahead does not drag it along: each look takes the median.
"""

from __future__ import annotations

from typing import Final, cast

import polars as pl

from ..kept import Frames, fits, rows_of

_NEWEST: Final = pl.Schema({"ns": pl.Int64})


class Newest:
    """The newest instant that at least half of the events of one look had reached, in ns since the epoch."""

    def __init__(self) -> None:
        self.ns = 0

    def state(self) -> Frames:
        """The instant."""
        return {"newest": pl.DataFrame({"ns": [self.ns]}, schema=_NEWEST)}

    def restore(self, frames: Frames) -> int:
        """Take up an instant."""
        if not fits(frames, newest=_NEWEST):
            return rows_of(frames)
        self.ns = frames["newest"].item()
        return 0

    def see(self, instants: pl.Series) -> None:
        """Look at instants (Int64 ns) of events that came together."""
        median = cast("float | None", instants.median())
        self.ns = max(self.ns, int(median or 0))
