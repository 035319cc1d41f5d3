"""When a fact of the cluster held: half-open spans [since, until), in nanoseconds since the epoch, UTC.

The invariant: where a frame says that a key has one answer at a time, the spans of that key are disjoint.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import polars as pl

BEGINNING: Final = -(1 << 63)
"""`since` of what held before anything was watched."""
END: Final = (1 << 63) - 1
"""`until` of what holds still."""
ALWAYS: Final = (BEGINNING, END)

SPAN: Final = {"since": pl.Int64(), "until": pl.Int64()}
"""Columns of a span, for schemas."""


def instant_of(text: str | None) -> int | None:
    """The instant in an RFC 3339 text, as objects write it; None where there is none."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(aware.timestamp()) * 1_000_000_000 + aware.microsecond * 1000
