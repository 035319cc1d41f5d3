"""Who waits at a terminal is told for what; nobody else is."""

from __future__ import annotations

import io
import re
import threading

import pytest

from pipeline.cli.progress import progress

WIPE = "\r\x1b[K"


class Terminal(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.is_told = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        written = super().write(text)
        self.is_told.set()
        return written


def test_what_takes_long_is_told_and_wiped() -> None:
    terminal = Terminal()
    with progress("reading flows", terminal, after_s=0.0, every_s=60.0):
        assert terminal.is_told.wait(60)
    assert re.fullmatch(rf"{re.escape(WIPE)}reading flows \.\.\. \d+ s{re.escape(WIPE)}", terminal.getvalue())


def test_it_is_wiped_where_the_work_fails() -> None:
    terminal = Terminal()

    def fail() -> None:
        with progress("reading", terminal, after_s=0.0, every_s=60.0):
            assert terminal.is_told.wait(60)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert terminal.getvalue().endswith(WIPE)


def test_what_is_quick_is_not_told() -> None:
    terminal = Terminal()
    with progress("reading", terminal, after_s=60.0):
        pass
    assert terminal.getvalue() == ""


def test_nothing_is_told_where_there_is_no_terminal() -> None:
    pipe = io.StringIO()
    with progress("reading", pipe, after_s=0.0):
        pass
    assert pipe.getvalue() == ""
