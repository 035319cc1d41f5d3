"""When a fact of the cluster held: half-open spans [since, until), in nanoseconds since the epoch, UTC.

The invariant: where a frame says that a key has one answer at a time, the spans of that key are disjoint.
"""

from __future__ import annotations

from typing import Final

import polars as pl

BEGINNING: Final = -(1 << 63)
"""`since` of what held before anything was watched."""
END: Final = (1 << 63) - 1
"""`until` of what holds still."""
ALWAYS: Final = (BEGINNING, END)

SPAN: Final = {"since": pl.Int64(), "until": pl.Int64()}
"""Columns of a span, for schemas."""
