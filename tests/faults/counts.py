"""How often a fault is made: usually so many times that the suite stays quick; with FLOWATLAS_FAULTS=all as the fault
table asks."""

from __future__ import annotations

import os
from typing import Final

IS_ALL: Final = os.environ.get("FLOWATLAS_FAULTS") == "all"


def often(usual: int, asked: int) -> int:
    """`usual`, or `asked` where all is asked for."""
    return asked if IS_ALL else usual


def tell(text: object) -> None:
    """Say it in the run's output, as each run tells what it reconciled."""
    print(text)
