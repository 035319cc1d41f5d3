"""The screen of `flowatlas top`: the talkers of the last seconds, drawn anew, and keys that change what is shown."""

from __future__ import annotations

import argparse
import curses
import os
import queue
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import polars as pl

from ..errors import ConfigError
from ..talker_keys import KEYS, SORTS
from ..talkers import talkers
from .following import follow
from .terminal import printable, size
from .top import Window

_DRAW_MS: Final = 500
_COLUMNS: Final = ("RATE", "SENT", "RECEIVED", "PACKETS", "CONNECTIONS", "FAILED")
_WIDTHS: Final = (11, 9, 9, 9, 11, 7)


def show(arguments: argparse.Namespace) -> None:
    """Draw until q is pressed. Raises ConfigError where the pipeline does not answer, or nothing can be drawn."""
    if not _can_be_drawn_on():
        kind = os.environ.get("TERM", "")
        raise ConfigError(f"TERM: a terminal of kind {kind!r} cannot be drawn on here; -o table tells once")
    frames: queue.SimpleQueue[pl.DataFrame | ConfigError] = queue.SimpleQueue()

    def listen() -> None:
        try:
            for rows in follow(arguments.server, arguments.conditions):
                frames.put(rows)
        except ConfigError as error:
            frames.put(error)

    threading.Thread(target=listen, name="follow", daemon=True).start()
    curses.wrapper(_loop, frames, arguments)


def _can_be_drawn_on() -> bool:
    """Whether the terminal is of a kind that this machine knows, and goes where it is told to."""
    try:
        curses.setupterm()
    except curses.error:
        return False
    return curses.tigetstr("cup") is not None


def _loop(
    screen: curses.window, frames: queue.SimpleQueue[pl.DataFrame | ConfigError], arguments: argparse.Namespace
) -> None:
    for wished in (curses.use_default_colors, partial(curses.curs_set, 0)):
        with suppress(curses.error):  # a serial console can do neither
            wished()
    screen.timeout(_DRAW_MS)
    window = Window(arguments.window)
    by, sort, step = arguments.by, arguments.sort, 1
    began = time.monotonic()
    while True:
        while not frames.empty():
            came = frames.get()
            if isinstance(came, ConfigError):
                raise came
            window.add(came, time.monotonic())
        seconds = max(1.0, min(arguments.window, time.monotonic() - began))
        _draw(screen, window, by, sort, seconds)
        match screen.getch():
            case 113 | 81:  # q, Q
                return
            case 107:  # k
                by = _next(tuple(KEYS), by, step)
            case 115:  # s
                sort = _next(SORTS, sort, step)
            case 114:  # r
                step = -step
            case _:
                pass


def _next(names: Sequence[str], name: str, step: int) -> str:
    return names[(names.index(name) + step) % len(names)]


def _draw(screen: curses.window, window: Window, by: str, sort: str, seconds: float) -> None:
    height, width = screen.getmaxyx()
    screen.erase()
    rows = talkers(pl.concat(window.frames).lazy(), by, sort) if window.frames else None
    total = int(rows["bytes"].sum()) if rows is not None else 0
    title = f"flowatlas top: {KEYS[by]}, by {sort}, last {seconds:.0f} s: {size(round(total / seconds))}/s"
    _put(screen, 0, title, curses.A_BOLD)
    _put(screen, 1, "q quit   k compare by   s sort by   r other way round")
    name_width = max(16, width - sum(_WIDTHS) - 2 * len(_WIDTHS) - 1)
    _put(screen, 3, _line(by.upper(), _COLUMNS, name_width), curses.A_REVERSE)
    if rows is None or rows.is_empty():
        _put(screen, 4, "nothing yet that matches")
    else:
        for at, row in enumerate(rows.head(max(0, height - 5)).iter_rows(named=True)):
            cells = (
                f"{size(round(row['bytes'] / seconds))}/s",
                size(row["sent"]),
                size(row["received"]),
                str(row["packets"]),
                str(row["connections"]),
                str(row["failed"]),
            )
            _put(screen, 4 + at, _line(printable(row["key"]), cells, name_width))
    screen.refresh()


def _line(name: str, cells: Sequence[str], name_width: int) -> str:
    shown = name if len(name) <= name_width else name[: name_width - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return "  ".join([shown.ljust(name_width), *(c.rjust(w) for c, w in zip(cells, _WIDTHS, strict=True))])


def _put(screen: curses.window, line: int, text: str, attribute: int = curses.A_NORMAL) -> None:
    height, width = screen.getmaxyx()
    if line < height:
        screen.addnstr(line, 0, text, width - 1, attribute)
