"""How often a fault is made: usually so many times that the suite stays quick; with FLOWATLAS_FAULTS=all as the fault
table asks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

IS_ALL: Final = os.environ.get("FLOWATLAS_FAULTS") == "all"


def often(usual: int, asked: int) -> int:
    """`usual`, or `asked` where all is asked for."""
    return asked if IS_ALL else usual


def tell(text: object) -> None:
    """Say it in the run's output, as each run tells what it reconciled."""
    print(text)


def tell_quickness(kills: int, seconds: Sequence[float]) -> None:
    """Say how soon there was somebody ready again, as half of the times and 99 of 100 were."""
    ranked = sorted(seconds)
    half, most = ranked[len(ranked) // 2], ranked[max(0, -(-len(ranked) * 99 // 100) - 1)]
    tell(f"{kills} kills; ready {len(ranked)} times, p50 {half:.2f} s, p99 {most:.2f} s")
