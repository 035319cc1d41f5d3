"""What a terminal is told: colours where it shows them, sizes to read, never what somebody else's names say."""

from __future__ import annotations

import os
import re
import shutil
import textwrap
from typing import Final, TextIO

RED: Final = "\x1b[31m"
GREEN: Final = "\x1b[32m"
AMBER: Final = "\x1b[33m"
CYAN: Final = "\x1b[36m"
WIDTH: Final = 100
"""Columns of what is no terminal."""
PLAIN: Final = "\x1b[0m"
CONTROL: Final = r"[\x00-\x1f\x7f-\x9f\u2028\u2029]"
"""What a terminal would obey, as a regular expression."""
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_CONTROL: Final = re.compile(CONTROL)


def is_coloured(to: TextIO) -> bool:
    """Whether colours are shown: on a terminal, unless NO_COLOR is set and not empty (no-color.org)."""
    return to.isatty() and not os.environ.get("NO_COLOR")


def printable(text: str) -> str:
    """Text with what a terminal would obey replaced."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str) -> str:
    """What an object store's client draws in colours over many lines, as one line of plain words."""
    return printable(" ".join(_COLOUR.sub("", text).split()))


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number of things: 1 pair, 2 pairs. `plural` is for a word that takes more than an s."""
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def wrapped(text: str) -> str:
    """Text in lines as wide as the terminal, 100 where there is none; all but the first are set in."""
    width = max(shutil.get_terminal_size((WIDTH, 0)).columns, 40)
    return textwrap.fill(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def size(count: object) -> str:
    """Bytes as people read them: 3 digits and a decimal unit."""
    if not isinstance(count, int):
        return "-"
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"
        value /= 1000
    return str(count)
