"""What a person is told who waits: on a terminal, from the first second on, what is being done and for how long.

Nothing is said where standard error is no terminal, and nothing stays of it: the line is wiped before the outcome.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TextIO

AFTER_S: Final = 1.0
EVERY_S: Final = 0.5
_WIPE: Final = "\r\x1b[K"


@contextmanager
def progress(
    doing: str, to: TextIO | None = None, after_s: float = AFTER_S, every_s: float = EVERY_S
) -> Iterator[None]:
    """Tell `doing` (`reading flows`) while the block runs. The block itself prints nothing."""
    terminal = sys.stderr if to is None else to
    if not terminal.isatty():
        yield
        return
    is_done = threading.Event()
    teller = threading.Thread(target=_tell, args=(terminal, doing, is_done, after_s, every_s), daemon=True)
    teller.start()
    try:
        yield
    finally:
        is_done.set()
        teller.join()


def _tell(terminal: TextIO, doing: str, is_done: threading.Event, after_s: float, every_s: float) -> None:
    began = time.monotonic()
    if is_done.wait(after_s):
        return
    while True:
        terminal.write(f"{_WIPE}{doing} ... {time.monotonic() - began:.0f} s")
        terminal.flush()
        if is_done.wait(every_s):
            break
    terminal.write(_WIPE)
    terminal.flush()
