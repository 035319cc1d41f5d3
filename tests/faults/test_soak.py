"""Some rounds of what `make soak` does for long."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pipeline import engine
from tests.faults.ledger import Ledger
from tests.faults.lives import Disk
from tests.faults.rounds import rounds

SECONDS = 15.0


def test_troubles_at_random_leave_nothing_unexplained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BACK_OFF_SECONDS", (0.01, 0.1))
    seed = 26
    assert rounds(Disk(tmp_path, Ledger(seed, rows=200), left=0, flush_rows=2_000), random.Random(seed), SECONDS) == 0
