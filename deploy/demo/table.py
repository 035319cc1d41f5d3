"""Tables and progress on a terminal: plain text, aligned, no colour codes where nobody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Rows in aligned columns; the columns with an index in `right` are set flush right."""
    cells = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join("  " + line for line in lines)


class Progress:
    """One line that says what goes on: rewritten in place on a terminal, one line a step elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._began = time.monotonic()

    def step(self, text: str) -> None:
        """A new step begins."""
        self._clear()
        print(f"[{time.monotonic() - self._began:5.1f} s] {text}", flush=True)

    def update(self, text: str) -> None:
        """The present step goes on; shown on a terminal only."""
        if self._live:
            self._clear()
            print(f"          {text}", end="", flush=True)

    def _clear(self) -> None:
        if self._live:
            print("\r\x1b[2K", end="")
