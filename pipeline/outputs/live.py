"""The live tail: rows of the history as they are made, for whoever listens at this moment.

Nobody listening costs nothing: rows are made for it only while somebody has asked within the last seconds. The
invariant: memory is bounded by `MOST_ROWS`, and a listener that falls behind is told how many rows it missed.
"""

from __future__ import annotations

import io
import json
import threading
import time
from collections import deque
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

import polars as pl

from ..conditions import Condition
from ..errors import ConfigError
from ..flowfilter import matching
from .history import HISTORY

PATH: Final = "/flows"
"""Where the pipeline's server answers listeners."""
MOST_ROWS: Final = 200_000
"""Held for listeners; older rows are missed."""
ANSWER_ROWS: Final = 20_000
"""Of one answer: the newest that match."""
WANTED_SECONDS: Final = 15.0
"""How long after a listener's last question rows are made for it."""
PATIENCE_SECONDS: Final = 5.0
"""How long a question waits for rows before the answer is none."""
HERE: Final = frozenset({"127.0.0.1", "::1", "::ffff:127.0.0.1"})
"""Who asks from the pipeline's own machine, or, in a cluster, through `kubectl port-forward`."""
NEXT_HEADER: Final = "Flowatlas-Next"
MISSED_HEADER: Final = "Flowatlas-Missed"
_TEXT: Final = {"Content-Type": "text/plain; charset=utf-8"}
_ELSEWHERE: Final = b"single flows are told on its own machine alone; kubectl port-forward, or pipeline.live: on\n"


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer to a listener."""

    rows: pl.DataFrame
    """Of HISTORY, those that match, in the order in which they were made."""
    next: int
    """Where to go on."""
    missed: int
    """Rows, matching or not, that were there no more, and matching ones that one answer does not hold."""


class LiveTail:
    """Thread-safe: the engine adds, server threads ask. Unless it is `to_all`, it answers who is HERE alone."""

    def __init__(self, *, to_all: bool = False) -> None:
        self._to_all = to_all
        self._frames: deque[tuple[int, pl.DataFrame]] = deque()  # (position of the first row, rows)
        self._end = 0
        self._held = 0
        self._asked_at = float("-inf")
        self._changed = threading.Condition()

    @property
    def is_wanted(self) -> bool:
        """Whether somebody listens, so that rows should be made."""
        return time.monotonic() - self._asked_at < WANTED_SECONDS

    def add(self, rows: pl.DataFrame) -> None:
        """Let listeners have rows of HISTORY."""
        with self._changed:
            self._frames.append((self._end, rows))
            self._end += rows.height
            self._held += rows.height
            while len(self._frames) > 1 and self._held > MOST_ROWS:
                self._held -= self._frames.popleft()[1].height
            self._changed.notify_all()

    def after(self, position: int | None, wanted: pl.Expr, patience_s: float = PATIENCE_SECONDS) -> Heard:
        """The rows from `position` on that are `wanted`, waiting for some; from now on where there is no position."""
        deadline = time.monotonic() + patience_s
        with self._changed:
            self._asked_at = time.monotonic()
            begin = self._end if position is None else min(position, self._end)
            while self._end <= begin and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            self._asked_at = time.monotonic()
            oldest = self._frames[0][0] if self._frames else self._end
            parts = [rows.slice(max(0, begin - first)) for first, rows in self._frames if first + rows.height > begin]
            end = self._end
        matched = pl.concat(parts).lazy().filter(wanted).collect() if parts else HISTORY.to_frame()
        missed = max(0, oldest - begin) + max(0, matched.height - ANSWER_ROWS)
        return Heard(matched.tail(ANSWER_ROWS), end, missed)

    def answer(self, query: str, by: str) -> tuple[HTTPStatus, dict[str, str], bytes]:
        """The answer to `GET /flows?after=POSITION&where=[[KIND, VALUE, IS_NEGATED], ...]`: an Arrow IPC stream of
        HISTORY, with where to go on and what was missed in headers; 400 with the reason where the question is wrong,
        403 where it is not for the address `by` to ask."""
        if not self._to_all and by not in HERE:
            return HTTPStatus.FORBIDDEN, _TEXT, _ELSEWHERE
        try:
            position, wanted = _question(query)
        except ConfigError as error:
            return HTTPStatus.BAD_REQUEST, _TEXT, f"{error}\n".encode()
        heard = self.after(position, wanted)
        headers = {
            "Content-Type": "application/vnd.apache.arrow.stream",
            NEXT_HEADER: str(heard.next),
            MISSED_HEADER: str(heard.missed),
        }
        return HTTPStatus.OK, headers, _stream(heard.rows)


def _stream(rows: pl.DataFrame) -> bytes:
    sink = io.BytesIO()
    rows.write_ipc_stream(sink, compression="lz4")
    return sink.getvalue()


def _question(query: str) -> tuple[int | None, pl.Expr]:
    asked = parse_qs(query)
    after = asked.get("after", [""])[-1]
    if after and not (after.isdecimal() and len(after) < 19):
        raise ConfigError("after: a position is wanted")
    try:
        written = json.loads(asked.get("where", ["[]"])[-1])
        conditions = [Condition(str(kind), str(value), negated is True) for kind, value, negated in written]
    except (ValueError, TypeError, RecursionError):
        raise ConfigError("where: a JSON list of [KIND, VALUE, IS_NEGATED] is wanted") from None
    return int(after) if after else None, matching(conditions)
