"""Flows that wait for the cluster's state: it tells of a change a moment after flows may have met it. So does DNS.

Columnar, bounded in rows and in time, without a clock of its own. The invariant: every row that was given comes out
once, at the latest `wait_s` after it was given, however far the state has come by then.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

import polars as pl

from .inventory.spans import END
from .kept import Frames

MAX_ROWS: Final = 500_000
"""More are not held: the oldest go on as they are."""
_DUE: Final = "_due"
_FIRST, _SECOND = "first", "second"


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that were held at one time."""

    flows: pl.DataFrame
    """The rows, and until when the state must be known for each."""
    given_s: float
    """When they came to us, by the caller's clock; infinite where another process was given them."""
    is_second: bool
    """Whether they have been judged once, with an end that nothing held."""


@dataclass(frozen=True, slots=True)
class Released:
    """Rows that wait no more."""

    flows: pl.DataFrame
    given_s: float
    is_final: bool
    """Whether they are to be counted as they are judged now: they were judged before, or have waited long enough."""
    late: int
    """Rows of which the state is not known yet."""


class Awaiting:
    """Holds rows until the state is known beyond their start, by `settle_s` or more."""

    def __init__(self, wait_s: float, settle_s: float = 0.0, max_rows: int = MAX_ROWS) -> None:
        self.rows = 0
        """Rows that are held."""
        self._wait_s = wait_s
        self._wait_ns = int(wait_s * 1e9)
        self._settle_ns = int(settle_s * 1e9)
        self._max_rows = max_rows
        self._parts: deque[Part] = deque()

    def state(self) -> Frames:
        """The parts that are held; the name of a frame tells whether its rows were judged once."""
        return {f"{place}{_SECOND if part.is_second else _FIRST}": part.flows for place, part in enumerate(self._parts)}

    def restore(self, frames: Frames) -> int:
        """Take up rows; they wait from the next `release` on."""
        for name, flows in frames.items():
            self._hold(Part(flows, math.inf, name.endswith(_SECOND)))
        return 0

    def take(self, flows: pl.DataFrame, known_until: int, now_s: float) -> pl.DataFrame:
        """The rows of which the state is known; the others are held."""
        is_known = flows["start"] + self._settle_ns < known_until
        if is_known.all():
            return flows
        late = flows.filter(~is_known)
        self._hold(Part(late.with_columns((pl.col("start") + self._settle_ns).alias(_DUE)), now_s, is_second=False))
        return flows.filter(is_known)

    def doubt(self, flows: pl.DataFrame, is_unknown: pl.Series, known_until: int, given_s: float) -> pl.Series:
        """Hold the rows of which an end is unknown and may be told of yet; a mask of those that are not held."""
        is_young = flows["start"] > known_until - self._wait_ns
        is_held = is_unknown & is_young
        if not is_held.any():
            return ~is_held
        due = (pl.col("start") + self._wait_ns).alias(_DUE)
        self._hold(Part(flows.filter(is_held).with_columns(due), given_s, is_second=True))
        return ~is_held

    def expect(self, flows: pl.DataFrame, is_expected: pl.Series, given_s: float) -> pl.Series:
        """Hold rows of which something may be told yet that is not of the state, for `wait_s` after they were given; a
        mask of those that are not held."""
        if is_expected.any():
            self._hold(Part(flows.filter(is_expected).with_columns(pl.lit(END).alias(_DUE)), given_s, is_second=True))
        return ~is_expected

    def release(self, known_until: int, now_s: float) -> list[Released]:
        """The rows that the state has caught up with, and those that have waited long enough or are too many."""
        released = []
        kept: deque[Part] = deque()
        excess = self.rows - self._max_rows
        for part in self._parts:
            given_s = min(part.given_s, now_s)
            has_waited = now_s - given_s >= self._wait_s or excess > 0
            is_known = part.flows[_DUE] < known_until
            if has_waited or is_known.all():
                out, rest = part.flows, None
            elif is_known.any():
                out, rest = part.flows.filter(is_known), part.flows.filter(~is_known)
            else:
                out, rest = None, part.flows
            if out is not None:
                late = int((out["start"] >= known_until).sum())
                released.append(Released(out.drop(_DUE), given_s, part.is_second or has_waited, late))
                excess -= out.height
                self.rows -= out.height
            if rest is not None:
                kept.append(Part(rest, given_s, part.is_second))
        self._parts = kept
        return released

    def _hold(self, part: Part) -> None:
        self._parts.append(part)
        self.rows += part.flows.height
