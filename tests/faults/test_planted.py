"""The oracle tests itself: it finds nothing where there is nothing, and every mistake that is planted into the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import answers, oversights, planted, returns, shortcuts, trials

MISTAKES = {**planted.MISTAKES, **shortcuts.MISTAKES, **oversights.MISTAKES}
TRIALS = {**trials.TRIALS, **answers.TRIALS, **returns.TRIALS}


@pytest.mark.parametrize("name", TRIALS)
def test_nothing_is_unexplained_without_a_mistake(tmp_path: Path, name: str) -> None:
    assert TRIALS[name](tmp_path) == {}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: str) -> None:
    trial, plant = MISTAKES[mistake]
    plant(monkeypatch)
    try:
        unexplained = TRIALS[trial](tmp_path)
    except FileNotFoundError as error:  # the log of the history names a file that is not there
        unexplained = {str(error): 1}
    assert unexplained != {}
