"""Which rows of text were met before, as far as so many are remembered: by a hash of each, for there may be many.

It tells rows apart and keeps none. The invariant: of rows that are remembered none is new.
"""

from __future__ import annotations

from typing import Final

import polars as pl

MOST: Final = 100_000
"""Rows that are remembered, 8 bytes each: those that came last."""


class Remembered:
    """The rows that `new` was asked for."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._hashes = pl.Series(dtype=pl.UInt64)

    def new(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Those of these rows, of which no two are the same, that were not met before."""
        hashes = rows.hash_rows()
        is_new = ~hashes.is_in(self._hashes.implode())
        self._hashes = pl.concat([self._hashes, hashes.filter(is_new)]).tail(self._most)
        return rows.filter(is_new)
