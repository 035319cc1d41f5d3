"""What a terminal is told beyond plain text: colours, where it shows them, and never what somebody else's names say."""

from __future__ import annotations

import os
import re
from typing import Final, TextIO

RED: Final = "\x1b[31m"
GREEN: Final = "\x1b[32m"
AMBER: Final = "\x1b[33m"
CYAN: Final = "\x1b[36m"
PLAIN: Final = "\x1b[0m"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def is_coloured(to: TextIO) -> bool:
    """Whether colours are shown: on a terminal, unless NO_COLOR is set and not empty (no-color.org)."""
    return to.isatty() and not os.environ.get("NO_COLOR")


def printable(text: str) -> str:
    """Text with what a terminal would obey replaced."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
